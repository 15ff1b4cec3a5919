{{- define "mlflow.fullname" -}}
{{- include "pipeline.fullname" (list . 63) -}}
{{- end -}}

{{/* The name of another object, short enough for a CronJob. Takes (list $ "gc"). */}}
{{- define "mlflow.suffixed" -}}
{{- include "pipeline.suffixed" (list (include "mlflow.fullname" (index . 0)) (index . 1) 52) -}}
{{- end -}}

{{/* The image. Without tag and digest, the tag is the chart's appVersion. */}}
{{- define "mlflow.image" -}}
{{- include "pipeline.image" (list .Values.image .Chart.AppVersion) -}}
{{- end -}}

{{- define "mlflow.serviceAccountName" -}}
{{- required "serviceAccount.create is false: name the existing account in serviceAccount.name" (include "pipeline.serviceAccountName" (list . (include "mlflow.fullname" .))) -}}
{{- end -}}

{{/* The address of the database. It contains a password, so it comes only from the Secret. Takes (list $ "VARIABLE"). */}}
{{- define "mlflow.databaseEnv" -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ (index . 0).Values.database.existingSecret | quote }}
      key: uri
{{- end -}}

{{/* The artifact store and the keys for it. Takes (list $ SECRET), the Secret with the keys. */}}
{{- define "mlflow.artifactsEnv" -}}
{{- $secret := index . 1 -}}
{{- with (index . 0).Values.artifacts -}}
{{- with .endpointUrl -}}
- name: MLFLOW_S3_ENDPOINT_URL
  value: {{ . | quote }}
{{ end -}}
- name: AWS_DEFAULT_REGION
  value: {{ .region | quote }}
{{- if .existingSecret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
{{ include "mlflow.secretEnv" (list . $secret .) }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* One variable from a Secret. Takes (list VARIABLE SECRET KEY). */}}
{{- define "mlflow.secretEnv" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 | quote }}
      key: {{ index . 2 }}
{{- end -}}

{{/* The users that the migration makes: the administrator, and one for each role. */}}
{{- define "mlflow.usersEnv" -}}
{{- $users := dict "admin" .Values.auth.existingSecret -}}
{{- range $role, $secret := .Values.auth.users -}}
{{- if $secret -}}
{{- $_ := set $users $role $secret -}}
{{- end -}}
{{- end -}}
- name: ROLES
  value: {{ keys $users | sortAlpha | join "," | quote }}
{{- range $role, $secret := $users }}
{{ include "mlflow.secretEnv" (list (printf "%s_USERNAME" (upper $role)) $secret "username") }}
{{ include "mlflow.secretEnv" (list (printf "%s_PASSWORD" (upper $role)) $secret "password") }}
{{- end }}
{{- end -}}

{{/* MLflow answers 403 to an unknown Host header. These are all names that clients, Prometheus and people use. */}}
{{- define "mlflow.allowedHosts" -}}
{{- $name := include "mlflow.fullname" . -}}
{{- $service := printf "%s.%s" $name .Release.Namespace -}}
{{- $hosts := list "localhost" "127.0.0.1" $name $service (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service) -}}
{{- range include "pipeline.ingressHosts" . | fromJsonArray -}}
{{- $hosts = append $hosts .host -}}
{{- end -}}
{{- $all := list -}}
{{- range $hosts -}}
{{- $all = concat $all (list . (printf "%s:*" .)) -}}
{{- end -}}
{{- $all = concat $all (list "$(POD_IP):5000" "[$(POD_IP)]:5000") .Values.allowedHosts -}}
{{- join "," $all -}}
{{- end -}}

{{/* A page that is served under an ingress host sends that host as its origin. TLS may end before the cluster. */}}
{{- define "mlflow.corsAllowedOrigins" -}}
{{- $origins := list -}}
{{- range include "pipeline.ingressHosts" . | fromJsonArray -}}
{{- $origins = append $origins (printf "https://%s" .host) -}}
{{- if not (or .tlsSecret $.Values.ingress.tlsSecret) -}}
{{- $origins = append $origins (printf "http://%s" .host) -}}
{{- end -}}
{{- end -}}
{{- join "," (concat $origins .Values.corsAllowedOrigins) -}}
{{- end -}}

{{/* Fails with one sentence if values contradict each other. */}}
{{- define "mlflow.validate" -}}
{{- if and .Values.ingress.enabled (empty .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs at least one name in ingress.hosts." -}}
{{- end -}}
{{- if and .Values.auth.enabled (empty .Values.auth.existingSecret) -}}
{{- fail "auth.enabled needs a Secret in auth.existingSecret, with the keys username, password and flask-secret-key." -}}
{{- end -}}
{{- if and .Values.auth.enabled (empty .Values.auth.users.serving) -}}
{{- fail "auth.enabled needs a Secret in auth.users.serving, with the keys username and password: helm test uses it too." -}}
{{- end -}}
{{- if eq (int .Values.service.port) (int .Values.service.metricsPort) -}}
{{- fail "service.port and service.metricsPort are the same: give the metrics another port." -}}
{{- end -}}
{{- if and .Values.artifacts.existingSecret (empty .Values.artifacts.readSecret) -}}
{{- fail "artifacts.existingSecret names keys that may write: name read-only keys in artifacts.readSecret, for the server." -}}
{{- end -}}
{{- end -}}
