{{- define "smtpstatus.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "smtpstatus.fullname" -}}
{{- $name := include "smtpstatus.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "smtpstatus.selectorLabels" -}}
app.kubernetes.io/name: {{ include "smtpstatus.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "smtpstatus.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "smtpstatus.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: exporter
app.kubernetes.io/part-of: smtpstatus
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The web configuration file, empty if there is nothing to configure. */}}
{{- define "smtpstatus.webConfig" -}}
{{- $config := deepCopy .Values.webConfig -}}
{{- if .Values.tls.existingSecret -}}
{{- $files := dict "cert_file" "/etc/smtpstatus-tls/tls.crt" "key_file" "/etc/smtpstatus-tls/tls.key" -}}
{{- $config = merge $config (dict "tls_server_config" $files) -}}
{{- end -}}
{{- if $config -}}
{{- toYaml $config -}}
{{- end -}}
{{- end -}}

{{- define "smtpstatus.scheme" -}}
{{- ternary "https" "http" (contains "tls_server_config:" (include "smtpstatus.webConfig" .)) -}}
{{- end -}}

{{- define "smtpstatus.host" -}}
{{- printf "%s.%s.svc" (include "smtpstatus.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* tlsConfig of a ServiceMonitor or Probe. */}}
{{- define "smtpstatus.tlsConfig" -}}
{{- if .Values.tls.existingSecret -}}
tlsConfig:
  ca:
    secret: {name: {{ .Values.tls.existingSecret }}, key: ca.crt}
  serverName: {{ include "smtpstatus.host" . }}
{{- end -}}
{{- end -}}
