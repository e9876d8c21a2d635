{{- /* Probes and metrics go past the proxy, and the proxy outlives the server's drain. */ -}}
{{- define "inferwire.meshAnnotations" -}}
{{- $plain := printf "%v" .Values.ports.health -}}
{{- if .Values.metrics.enabled -}}
{{- $plain = printf "%s,%v" $plain .Values.metrics.port -}}
{{- end -}}
{{- if eq .Values.mesh.kind "istio" -}}
traffic.sidecar.istio.io/excludeInboundPorts: {{ $plain | quote }}
proxy.istio.io/config: |
  terminationDrainDuration: {{ include "inferwire.drainSeconds" . }}s
{{- else if eq .Values.mesh.kind "linkerd" -}}
linkerd.io/inject: enabled
config.linkerd.io/skip-inbound-ports: {{ $plain | quote }}
config.alpha.linkerd.io/proxy-wait-before-exit-seconds: {{ include "inferwire.drainSeconds" . | quote }}
{{- end -}}
{{- end -}}
