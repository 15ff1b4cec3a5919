{{- define "mlflow.signInName" -}}
{{- include "mlflow.suffixed" (list . "sign-in") -}}
{{- end -}}

{{/* Settings of the server at which people sign in. It lets in the configured groups, refuses tokens that the provider
     issued to other clients, and gives only administrators more than the right to read. */}}
{{- define "mlflow.signInEnv" -}}
{{- $signIn := .Values.signIn -}}
{{- $issuer := trimSuffix "/" $signIn.issuer -}}
{{- $address := urlParse $signIn.url -}}
{{- $host := regexFind "^[^:]+" $address.host -}}
{{- $said := dict
  "MLFLOW_SERVER_ALLOWED_HOSTS" (printf "%s,%s:*" $host $host)
  "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS" (printf "%s://%s" $address.scheme $address.host)
  "OIDC_DISCOVERY_URL" (printf "%s/.well-known/openid-configuration" $issuer)
  "OIDC_ISSUER" $signIn.issuer
  "OIDC_CLIENT_ID" $signIn.client
  "OIDC_AUDIENCE" $signIn.client
  "OIDC_REDIRECT_URI" (printf "%s/callback" (trimSuffix "/" $signIn.url))
  "OIDC_SCOPE" (printf "openid profile email %s" $signIn.groupsClaim)
  "OIDC_GROUPS_ATTRIBUTE" $signIn.groupsClaim
  "OIDC_ADMIN_GROUP_NAME" (join "," $signIn.admins)
  "OIDC_GROUP_NAME" (join "," $signIn.viewers)
  "OIDC_PROVIDER_DISPLAY_NAME" "Single sign-on"
  "MLFLOW_ENABLE_AI_GATEWAY" "false"
  "OIDC_GEN_AI_GATEWAY_ENABLED" "false"
  "AUTOMATIC_LOGIN_REDIRECT" "true"
  "DEFAULT_MLFLOW_PERMISSION" "READ"
  "RESTRICT_RESOURCE_CREATION" "true"
  "SESSION_COOKIE_SECURE" (hasPrefix "https://" $signIn.url | toString)
  "SESSION_COOKIE_MAX_AGE_SECONDS" (int $signIn.sessionSeconds | toString)
-}}
{{- if not $signIn.clientSecret -}}
{{- $_ := set $said "OIDC_PUBLIC_CLIENT" "true" -}}
{{- end -}}
{{- range $name, $value := $said }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with $signIn.clientSecret }}
{{ include "mlflow.secretEnv" (list "OIDC_CLIENT_SECRET" . "client-secret") }}
{{- end }}
{{ include "mlflow.secretEnv" (list "SECRET_KEY" .Values.auth.existingSecret "flask-secret-key") }}
{{- end -}}

{{/* The provider's port. */}}
{{- define "mlflow.issuerPort" -}}
{{- $host := (urlParse .Values.signIn.issuer).host -}}
{{- regexFind ":[0-9]+$" $host | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https://" .Values.signIn.issuer)) -}}
{{- end -}}

{{- define "mlflow.signInValidate" -}}
{{- with .Values.signIn -}}
{{- if .enabled -}}
{{- range $field := list "issuer" "client" "url" -}}
{{- if not (get $.Values.signIn $field) -}}
{{- fail (printf "signIn.enabled needs signIn.%s." $field) -}}
{{- end -}}
{{- end -}}
{{- if not $.Values.auth.enabled -}}
{{- fail "signIn.enabled needs auth.enabled: without it, the machines' server needs no password, and signIn has no key for its cookies." -}}
{{- end -}}
{{- if not (concat .admins .viewers) -}}
{{- fail "signIn.enabled needs a group in signIn.admins or signIn.viewers: nobody could sign in." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
