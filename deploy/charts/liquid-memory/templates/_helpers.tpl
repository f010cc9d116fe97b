{{/*
Names of everything: one operator a release. A name is at most 50 characters, so that a suffix and 63 fit, and a Service
may have it: lower-case letters, digits and "-", a letter first. A release's name may have dots, a digit first and 53
characters: what cannot be kept is cut, and a checksum of the whole keeps releases apart.
*/}}
{{- define "liquid.name" -}}
{{- $name := printf "%s-liquid-operator" .Release.Name -}}
{{- if eq .Release.Name "liquid-memory" }}{{ $name = "liquid-operator" }}{{ end -}}
{{- if and (le (len $name) 50) (regexMatch "^[a-z][a-z0-9-]*$" $name) -}}
{{ $name }}
{{- else -}}
{{- $start := regexReplaceAll "^([0-9])" (replace "." "-" .Release.Name) "r${1}" -}}
{{ $start | trunc 39 | trimAll "-" }}-{{ sha256sum $name | trunc 10 }}
{{- end -}}
{{- end }}

{{/* Names of cluster-wide objects carry the namespace too. "a" and "b-c" must not meet "a-b" and "c": hence the checksum. */}}
{{- define "liquid.clusterName" -}}
{{- $name := printf "%s-%s" .Release.Namespace (include "liquid.name" .) -}}
{{- if and (eq .Release.Name "liquid-memory") (le (len $name) 63) -}}
{{ $name }}
{{- else -}}
{{ $name | trunc 52 | trimAll "-" }}-{{ printf "%s/%s" .Release.Namespace .Release.Name | sha256sum | trunc 10 }}
{{- end -}}
{{- end }}

{{/* The name of a further role: (list . "view"). A long one keeps its checksum. */}}
{{- define "liquid.userRole" -}}
{{- $root := index . 0 }}{{ $name := include "liquid.clusterName" $root -}}
{{- if le (len $name) 58 -}}
{{ $name }}
{{- else -}}
{{ $name | trunc 47 | trimAll "-" }}-{{ printf "%s/%s" $root.Release.Namespace $root.Release.Name | sha256sum | trunc 10 }}
{{- end -}}
-{{ index . 1 }}
{{- end }}

{{- define "liquid.selector" -}}
app.kubernetes.io/name: liquid-memory
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "liquid.labels" -}}
{{ include "liquid.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-" }}
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

{{/* Values that a release of an earlier chart lacks, after `helm upgrade --reuse-values`, have their default here too. */}}
{{- define "liquid.podUser" -}}
{{ .Values.podUser | default "Fixed" }}
{{- end }}

{{- define "liquid.webhookPort" -}}
{{ .Values.operator.webhookPort | default 9443 | int }}
{{- end }}

{{- define "liquid.adminPort" -}}
{{- $port := .Values.operator.adminPort | default 8080 | int -}}
{{- if eq $port (include "liquid.webhookPort" . | int) }}{{ fail (printf "operator.adminPort and operator.webhookPort are both %d: choose two ports" $port) }}{{ end -}}
{{ $port }}
{{- end }}

{{/* Pod Security "restricted". */}}
{{- define "liquid.podSecurity" -}}
runAsNonRoot: true
{{- if eq (include "liquid.podUser" .) "Fixed" }}
runAsUser: 65532
runAsGroup: 65532
{{- end }}
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
- name: LIQUID_OPERATOR_POD_USER
  value: {{ include "liquid.podUser" . }}
{{- with (.Values.models | default dict).publicKey }}
- name: LIQUID_OPERATOR_MODEL_PUBLIC_KEY
  value: {{ trim . | quote }}
{{- end }}
- name: LIQUID_OPERATOR_WEBHOOK_SERVICE
  value: {{ include "liquid.name" . }}
- name: LIQUID_OPERATOR_WEBHOOK_NAME
  value: {{ include "liquid.clusterName" . }}
- name: LIQUID_OPERATOR_CLUSTER_DOMAIN
  value: {{ .Values.clusterDomain }}
- name: LIQUID_OPERATOR_LEASE_NAME
  value: {{ include "liquid.name" . }}
{{- if (.Values.watchdog | default dict).evict }}
- name: LIQUID_OPERATOR_EVICT_PODS
  value: "true"
{{- end }}
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

{{/* The labels of what other operators read. */}}
{{- define "liquid.monitoringLabels" -}}
{{ include "liquid.labels" . }}
{{- with (.Values.monitoring | default dict).labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* certificates.leafLifetime in seconds. */}}
{{- define "liquid.leafSeconds" -}}
{{- $life := .Values.certificates.leafLifetime -}}
{{- $unit := dict "s" 1 "m" 60 "h" 3600 "d" 86400 | dig (trimAll "0123456789" $life) 1 -}}
{{ mul (regexFind "^[0-9]+" $life | int64) $unit }}
{{- end }}
