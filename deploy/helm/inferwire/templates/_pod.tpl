
{{- define "inferwire.podCommon" -}}
serviceAccountName: {{ include "inferwire.serviceAccount" . }}
automountServiceAccountToken: false
# Services of this namespace would come as variables, which may look like settings.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
terminationGracePeriodSeconds: {{ include "inferwire.terminationSeconds" . }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "inferwire.containerCommon" -}}
image: {{ include "inferwire.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources: {{- include "inferwire.resources" . | nindent 2 }}
{{- end -}}

{{- define "inferwire.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if gt (int .Values.gpu.count) 0 -}}
{{- $limits := merge (dict .Values.gpu.resource (int .Values.gpu.count)) ($resources.limits | default dict) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "inferwire.env" -}}
{{- if not (int .Values.gpu.count) }}
# Left alone, an engine starts a thread for each core of the machine, whatever its container may use of them.
- name: OMP_NUM_THREADS
  valueFrom:
    resourceFieldRef: {resource: limits.cpu}
{{- end }}
{{- with .Values.secrets.huggingFace }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.Values.secrets.huggingFaceKey }}}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "inferwire.serverEnv" -}}
{{- if .Values.multiNode.enabled }}
# The leader's address is known only here.
- name: INFERWIRE_MODELS
  value: {{ include "inferwire.groupModels" . | quote }}
{{- end }}
{{ include "inferwire.env" . }}
{{- end -}}

{{- /* For each engine: where the image's variables say that it writes, and its models. */ -}}
{{- define "inferwire.engineMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: cache, mountPath: /var/cache/inferwire}
- {name: shared-memory, mountPath: /dev/shm}
{{- if .Values.modelVolume }}
- {name: models, mountPath: {{ .Values.modelMountPath }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "inferwire.engineVolumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.tmp.sizeLimit }}}
- name: cache
  {{- toYaml (.Values.cache.volume | default (dict "emptyDir" (dict "sizeLimit" .Values.cache.sizeLimit))) | nindent 2 }}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ .Values.sharedMemory.sizeLimit }}}
{{- with .Values.modelVolume }}
- name: models
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "inferwire.serverMounts" -}}
- {name: config, mountPath: /etc/inferwire/inferwire.yaml, subPath: inferwire.yaml, readOnly: true}
{{- if .Values.transport.tlsSecret }}
- {name: tls, mountPath: /etc/inferwire/tls, readOnly: true}
{{- end }}
{{- if .Values.secrets.tokens }}
- {name: tokens, mountPath: /etc/inferwire/tokens, readOnly: true}
{{- end }}
{{- if .Values.secrets.jwks }}
- {name: jwks, mountPath: /etc/inferwire/jwks, readOnly: true}
{{- end }}
{{- end -}}

{{- define "inferwire.serverVolumes" -}}
- name: config
  configMap: {name: {{ include "inferwire.name" . }}}
{{- with .Values.transport.tlsSecret }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.secrets.tokens }}
- name: tokens
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.secrets.jwks }}
- name: jwks
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{- /* All ask the address of its own, which answers until the end: the other one closes while calls still finish. */ -}}
{{- define "inferwire.probes" -}}
startupProbe:
  grpc: {port: {{ .Values.ports.health }}, service: ""}
  periodSeconds: 5
  timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
  failureThreshold: {{ div (add .Values.probes.startupSeconds 4) 5 }}
readinessProbe:
  grpc: {port: {{ .Values.ports.health }}, service: {{ .Values.probes.readinessService | quote }}}
  periodSeconds: {{ .Values.probes.readinessPeriodSeconds }}
  timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
  failureThreshold: 2
livenessProbe:
  grpc: {port: {{ .Values.ports.health }}, service: liveness}
  periodSeconds: {{ .Values.probes.livenessPeriodSeconds }}
  timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
  failureThreshold: {{ .Values.probes.livenessFailures }}
{{- end -}}

{{- define "inferwire.serverPod" -}}
metadata:
  annotations:
    kubectl.kubernetes.io/default-container: inferwire
    # Settings are read once: pods with others are new pods.
    checksum/config: {{ include "inferwire.config" . | sha256sum }}
    {{- with include "inferwire.meshAnnotations" . }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "inferwire.serverLabels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "inferwire.podCommon" . | nindent 2 }}
  {{- with .Values.topologySpread }}
  topologySpreadConstraints:
    {{- range . }}
    - labelSelector:
        matchLabels: {{- include "inferwire.serverLabels" $ | nindent 10 }}
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- end }}
  containers:
    - name: inferwire
      {{- include "inferwire.containerCommon" . | nindent 6 }}
      args: [serve, --config, /etc/inferwire/inferwire.yaml]
      {{- with include "inferwire.serverEnv" . | trim }}
      env: {{- . | nindent 8 }}
      {{- end }}
      ports:
        - {name: grpc, containerPort: {{ .Values.ports.grpc }}}
        - {name: health, containerPort: {{ .Values.ports.health }}}
        {{- if .Values.metrics.enabled }}
        - {name: metrics, containerPort: {{ .Values.metrics.port }}}
        {{- end }}
      {{- include "inferwire.probes" . | nindent 6 }}
      {{- if .Values.drain.preStopSeconds }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ .Values.drain.preStopSeconds }}}
      {{- end }}
      volumeMounts:
        {{- include "inferwire.engineMounts" . | nindent 8 }}
        {{- include "inferwire.serverMounts" . | nindent 8 }}
  volumes:
    {{- include "inferwire.engineVolumes" . | nindent 4 }}
    {{- include "inferwire.serverVolumes" . | nindent 4 }}
{{- end -}}
