{{/* Argo CD's sign-in, as patches of its installation: a public client with PKCE, so there is no secret. A provider may let
     everybody in, so people who are in none of the groups may not even read. */}}
{{- define "apps.argocdSignIn" -}}
{{- $oidc := .Values.oidc | default dict -}}
{{- with $oidc.argocd -}}
- target: {kind: ConfigMap, name: argocd-cm}
  patch: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: argocd-cm}
    data:
      url: {{ .url | quote }}
      oidc.config: |
        name: Single sign-on
        issuer: {{ $oidc.issuer | quote }}
        clientID: {{ .client | quote }}
        enablePKCEAuthentication: true
        requestedScopes: [openid, profile, email, {{ $oidc.groupsClaim | default "groups" | quote }}]
- target: {kind: ConfigMap, name: argocd-rbac-cm}
  patch: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: argocd-rbac-cm}
    data:
      scopes: {{ printf "[%s]" ($oidc.groupsClaim | default "groups") | quote }}
      policy.default: ""
      policy.csv: |
        {{- range $oidc.admins }}
        g, {{ . }}, role:admin
        {{- end }}
        {{- range $oidc.viewers }}
        g, {{ . }}, role:readonly
        {{- end }}
        {{- range $owner, $groups := $oidc.owners }}
        {{- range $groups }}
        g, {{ . }}, role:readonly
        {{- end }}
        {{- end }}
{{- end -}}
{{- end -}}

{{/* A role for each service whose owner has groups. It lists the full names of the Applications, so that it does not match
     others with the same beginning. */}}
{{- define "apps.ownerRoles" -}}
{{- $owners := (.Values.oidc | default dict).owners | default dict -}}
{{- range $service := .Values.services -}}
{{- with get $owners ($service.owner | default "") }}
- name: owner-{{ $service.name }}
  description: Syncs and rolls back {{ $service.name }} in every environment
  groups: {{ toJson . }}
  policies:
    {{- range $.Values.environments }}
    {{- $name := printf "serving/%s-%s" $service.name .name }}
    {{- range $action := list "get" "sync" "rollback" }}
    - p, proj:serving:owner-{{ $service.name }}, applications, {{ $action }}, {{ $name }}, allow
    {{- end }}
    - p, proj:serving:owner-{{ $service.name }}, logs, get, {{ $name }}, allow
    {{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Grafana's sign-in, as values of kube-prometheus-stack. People create the Secret of a confidential client; without the
     Secret it is a public client. */}}
{{- define "apps.grafanaSignIn" -}}
{{- $oidc := .Values.oidc | default dict -}}
{{- with $oidc.grafana -}}
{{- $claim := $oidc.groupsClaim | default "groups" -}}
{{- $roles := list -}}
{{- range $oidc.admins -}}
{{- $roles = append $roles (printf "contains(%s[*], '%s') && 'Admin'" $claim .) -}}
{{- end -}}
{{- $viewers := $oidc.viewers | default list -}}
{{- range $oidc.owners -}}
{{- $viewers = concat $viewers . -}}
{{- end -}}
{{- range $viewers | uniq -}}
{{- $roles = append $roles (printf "contains(%s[*], '%s') && 'Viewer'" $claim .) -}}
{{- end -}}
grafana:
  envFromSecrets: [{name: grafana-oidc, optional: true}]
  grafana.ini:
    server: {root_url: {{ .url | quote }}}
    auth.generic_oauth:
      enabled: true
      name: Single sign-on
      client_id: {{ .client | quote }}
      scopes: {{ printf "openid profile email %s" $claim | quote }}
      auth_url: {{ .authUrl | quote }}
      token_url: {{ .tokenUrl | quote }}
      api_url: {{ .apiUrl | quote }}
      use_pkce: true
      groups_attribute_path: {{ $claim | quote }}
      role_attribute_path: {{ join " || " $roles | quote }}
      # People who are in none of the groups cannot sign in.
      role_attribute_strict: true
      allow_assign_grafana_admin: false
{{- end -}}
{{- end -}}

{{/* MLflow's sign-in, as values of its chart. As in Grafana, owners only read, because only training changes models. */}}
{{- define "apps.mlflowSignIn" -}}
{{- $oidc := .Values.oidc | default dict -}}
{{- with $oidc.mlflow -}}
{{- $viewers := $oidc.viewers | default list -}}
{{- range $oidc.owners -}}
{{- $viewers = concat $viewers . -}}
{{- end -}}
signIn:
  enabled: true
  issuer: {{ $oidc.issuer | quote }}
  client: {{ .client | quote }}
  clientSecret: {{ .secret | default "" | quote }}
  url: {{ .url | quote }}
  groupsClaim: {{ $oidc.groupsClaim | default "groups" | quote }}
  admins: {{ $oidc.admins | default list | toJson }}
  viewers: {{ $viewers | uniq | toJson }}
{{- end -}}
{{- end -}}
