{{/* Names of everything: one operator a release. Cluster-wide objects carry the namespace, so that releases do not meet. */}}
{{- define "liquid.name" -}}
{{- if contains "liquid-operator" .Release.Name }}{{ .Release.Name | trunc 50 }}{{ else if eq .Release.Name "liquid-memory" }}liquid-operator{{ else }}{{ printf "%s-liquid-operator" .Release.Name | trunc 50 }}{{ end -}}
{{- end }}

{{- define "liquid.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "liquid.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "liquid.selector" -}}
app.kubernetes.io/name: liquid-memory
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "liquid.labels" -}}
{{ include "liquid.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The reference of an image: (list . "sidecar"). */}}
{{- define "liquid.image" -}}
{{- $root := index . 0 }}{{ $image := index $root.Values.image (index . 1) -}}
{{ $root.Values.image.registry }}/{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "liquid.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Pod Security "restricted". */}}
{{- define "liquid.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "liquid.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The settings that every command of the operator reads. */}}
{{- define "liquid.environment" -}}
- name: LIQUID_OPERATOR_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: LIQUID_OPERATOR_SIDECAR_IMAGE
  value: {{ include "liquid.image" (list . "sidecar") | quote }}
- name: LIQUID_OPERATOR_WORKER_IMAGE
  value: {{ include "liquid.image" (list . "worker") | quote }}
- name: LIQUID_OPERATOR_IMAGE_PULL_POLICY
  value: {{ .Values.image.pullPolicy }}
{{- with .Values.image.pullSecrets }}
- name: LIQUID_OPERATOR_IMAGE_PULL_SECRETS
  value: {{ join "," . | quote }}
{{- end }}
- name: LIQUID_OPERATOR_WEBHOOK_SERVICE
  value: {{ include "liquid.name" . }}
- name: LIQUID_OPERATOR_WEBHOOK_NAME
  value: {{ include "liquid.clusterName" . }}
- name: LIQUID_OPERATOR_CLUSTER_DOMAIN
  value: {{ .Values.clusterDomain }}
- name: LIQUID_OPERATOR_LEASE_NAME
  value: {{ include "liquid.name" . }}
- name: LIQUID_OPERATOR_LOG_FORMAT
  value: {{ .Values.operator.logFormat }}
- name: LIQUID_OPERATOR_LOG_LEVEL
  value: {{ .Values.operator.logLevel | quote }}
- name: LIQUID_OPERATOR_CA_LIFETIME
  value: {{ .Values.certificates.caLifetime }}
- name: LIQUID_OPERATOR_LEAF_LIFETIME
  value: {{ .Values.certificates.leafLifetime }}
- name: LIQUID_OPERATOR_CERT_PROPAGATION
  value: {{ .Values.certificates.propagation }}
{{- end }}
