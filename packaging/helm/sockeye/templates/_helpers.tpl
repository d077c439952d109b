{{- define "sockeye.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sockeye.selector" -}}
app.kubernetes.io/name: sockeye
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sockeye.labels" -}}
{{ include "sockeye.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
