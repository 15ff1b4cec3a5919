{{/* The name of an owner's own chat; empty if the owner has none. Takes (list $ OWNER). */}}
{{- define "apps.chat" -}}
{{- $chats := (index . 0).Values.chats | default dict -}}
{{- get $chats (index . 1 | default "") -}}
{{- end -}}

{{/* The subscriptions of an Application for its owner's chat: every trigger. Takes (list $ SERVICE). */}}
{{- define "apps.subscriptions" -}}
{{- $root := index . 0 -}}
{{- with include "apps.chat" (list $root (index . 1).owner) -}}
{{- $chat := . -}}
{{- range $key, $_ := include "apps.notifications" $root | fromYaml -}}
{{- if hasPrefix "trigger." $key }}
notifications.argoproj.io/subscribe.{{ trimPrefix "trigger." $key }}.{{ $chat }}: ""
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The ConfigMap's data. The file is a symbolic link to argocd/patches, because Helm reads no files outside a chart. */}}
{{- define "apps.notifications" -}}
{{- (.Files.Get "notifications.yaml" | fromYaml).data | toYaml -}}
{{- end -}}

{{/* Owners' chats, as a patch of Argo CD's installation. Each is a separate webhook with the messages of the chat `people`:
     Argo CD sends the body that a template has under the name of the webhook. */}}
{{- define "apps.chatsPatch" -}}
{{- $chats := .Values.chats | default dict | values | uniq | sortAlpha -}}
{{- if $chats -}}
{{- $data := dict -}}
{{- range $key, $text := include "apps.notifications" . | fromYaml -}}
{{- if hasPrefix "template." $key -}}
{{- $template := fromYaml $text -}}
{{- with $template.webhook.people -}}
{{- $people := . -}}
{{- range $chats -}}
{{- $_ := set $template.webhook . $people -}}
{{- end -}}
{{- end -}}
{{- $_ := set $data $key (toYaml $template) -}}
{{- end -}}
{{- end -}}
{{- $people := index (include "apps.notifications" . | fromYaml) "service.webhook.people" | fromYaml -}}
{{- range $chats -}}
{{- $_ := set $data (printf "service.webhook.%s" .) (toYaml (merge (dict "url" (printf "$webhook-url-%s" .)) $people)) -}}
{{- end -}}
- target: {kind: ConfigMap, name: argocd-notifications-cm}
  patch: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: argocd-notifications-cm}
    data:
      {{- toYaml $data | nindent 6 }}
{{- end -}}
{{- end -}}
