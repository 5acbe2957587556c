{{- define "gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "gateway.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "gateway.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "gateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gateway.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "gateway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* What the program reads. The volume of the store is its working directory. */}}
{{- define "gateway.toml" -}}
[server]
bind = "0.0.0.0:8080"
ops_bind = "0.0.0.0:9090"
shutdown_timeout = "{{ .Values.shutdownTimeout }}s"
{{- with .Values.serverExtra }}
{{ . | trim }}
{{- end }}

[store]
{{- if eq .Values.store.kind "postgres" }}
url = { env = "STORE_URL" }
{{- else }}
url = "sqlite:records-gateway.db"
{{- end }}
{{- with .Values.storeExtra }}
{{ . | trim }}
{{- end }}

{{ required "config: the tables [access] and [systems.NAME] are required, see deploy/example.toml" .Values.config | trim }}
{{- end -}}

{{- define "gateway.env" -}}
{{- if eq .Values.store.kind "postgres" }}
- name: STORE_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "store.postgres.existingSecret: the secret with the URL of PostgreSQL is required" .Values.store.postgres.existingSecret }}
      key: {{ .Values.store.postgres.key }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "gateway.envFrom" -}}
{{- if .Values.secrets }}
- secretRef: { name: {{ include "gateway.fullname" . }} }
{{- end }}
{{- range .Values.existingSecrets }}
- secretRef: { name: {{ . }} }
{{- end }}
{{- end -}}

{{- define "gateway.mounts" -}}
- { name: config, mountPath: /etc/records-gateway, readOnly: true }
- { name: store, mountPath: /var/lib/records-gateway }
- { name: tmp, mountPath: /tmp }
{{- range .Values.secretFiles }}
- { name: {{ printf "secret-%s" .name }}, mountPath: {{ printf "/etc/records-gateway-secrets/%s" .name }}, readOnly: true }
{{- end }}
{{- end -}}

{{- define "gateway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}
