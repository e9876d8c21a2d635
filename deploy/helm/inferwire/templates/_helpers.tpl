{{- define "inferwire.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* LeaderWorkerSet makes a headless Service of its own name. */ -}}
{{- define "inferwire.groupName" -}}
{{ include "inferwire.name" . }}{{ ternary "-group" "" .Values.multiNode.enabled }}
{{- end -}}

{{- define "inferwire.instanceLabels" -}}
app.kubernetes.io/name: inferwire
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* The pods that answer calls: not the workers of a group. */ -}}
{{- define "inferwire.serverLabels" -}}
{{ include "inferwire.instanceLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "inferwire.labels" -}}
{{ include "inferwire.instanceLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "inferwire.image" -}}
{{- $target := ternary "cuda" "cpu" (gt (int .Values.gpu.count) 0) -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "%s-%s" .Chart.AppVersion $target) }}
{{- end -}}
{{- end -}}

{{- define "inferwire.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "inferwire.name" .) -}}
{{- end -}}

{{- /* inferwire.yaml: the values' `config`, and what follows from other values. */ -}}
{{- define "inferwire.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $server := dict "address" (printf "0.0.0.0:%v" .Values.ports.grpc) "health_address" (printf "0.0.0.0:%v" .Values.ports.health) -}}
{{- $config = merge (dict "server" $server) $config -}}
{{- if .Values.metrics.enabled -}}
{{- $metrics := dict "address" (printf "0.0.0.0:%v" .Values.metrics.port) -}}
{{- $config = merge (dict "metrics" $metrics) $config -}}
{{- end -}}
{{- if .Values.transport.tlsSecret -}}
{{- $tls := dict "certificate" "/etc/inferwire/tls/tls.crt" "key" "/etc/inferwire/tls/tls.key" -}}
{{- if .Values.transport.clientCertificates -}}
{{- $_ := set $tls "client_ca" "/etc/inferwire/tls/ca.crt" -}}
{{- end -}}
{{- $_ := set $config "tls" $tls -}}
{{- else if or .Values.transport.allowInsecure .Values.mesh.kind -}}
{{- $_ := set $config.server "allow_insecure" true -}}
{{- else -}}
{{- fail "Nothing encrypts: set transport.tlsSecret, mesh.kind, or transport.allowInsecure" -}}
{{- end -}}
{{- if .Values.multiNode.enabled -}}
{{- $_ := unset $config "models" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* Seconds from the deletion of a pod until its last call has ended. */ -}}
{{- define "inferwire.drainSeconds" -}}
{{- $server := .Values.config.server | default dict -}}
{{- $window := dig "drain_window_s" 5 $server -}}
{{- $grace := dig "grace_s" 30 $server -}}
{{- addf .Values.drain.preStopSeconds $window $grace | ceil | int -}}
{{- end -}}

{{- define "inferwire.terminationSeconds" -}}
{{- add (include "inferwire.drainSeconds" . | int) .Values.drain.stopSeconds -}}
{{- end -}}

{{- define "inferwire.appProtocol" -}}
{{- if .Values.service.appProtocol -}}
{{ .Values.service.appProtocol }}
{{- else if eq .Values.mesh.kind "istio" -}}
grpc
{{- else if .Values.transport.tlsSecret -}}
https
{{- else -}}
kubernetes.io/h2c
{{- end -}}
{{- end -}}

{{- define "inferwire.grpcPort" -}}
- name: grpc
  port: {{ .Values.ports.grpc }}
  targetPort: grpc
  appProtocol: {{ include "inferwire.appProtocol" . }}
{{- end -}}

{{- /* What autoscalers scale. */ -}}
{{- define "inferwire.scaleTarget" -}}
{{- if .Values.multiNode.enabled -}}
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
{{- else -}}
apiVersion: apps/v1
kind: Deployment
{{- end }}
name: {{ include "inferwire.groupName" . }}
{{- end -}}
