{{/* How Argo CD syncs every Application with git. */}}
{{- define "apps.syncPolicy" -}}
automated: {prune: true, selfHeal: true, allowEmpty: false}
syncOptions:
  - ServerSideApply=true
  - FailOnSharedResource=true
  - PruneLast=true
  - SkipDryRunOnMissingResource=true
  - RespectIgnoreDifferences=true
retry:
  limit: -1
  refresh: true
  backoff: {duration: 10s, factor: 2, maxDuration: 3m}
{{- end -}}

{{/* The cluster that Argo CD runs in. */}}
{{- define "apps.here" -}}
https://kubernetes.default.svc
{{- end -}}

{{/* The namespace of an environment. */}}
{{- define "apps.namespace" -}}
{{- .namespace | default (printf "ml-pipeline-%s" .name) -}}
{{- end -}}

{{/* The API server of an environment. Takes (list $ environment). */}}
{{- define "apps.server" -}}
{{- $environment := index . 1 -}}
{{- if $environment.cluster -}}
{{- (index (index . 0).Values.clusters $environment.cluster).server -}}
{{- else -}}
{{- include "apps.here" . -}}
{{- end -}}
{{- end -}}

{{/* The namespaces of the environments in this cluster, as JSON. Their pods may connect to the shared parts. */}}
{{- define "apps.namespacesHere" -}}
{{- $names := list -}}
{{- range .Values.environments -}}
{{- if not .cluster -}}
{{- $names = append $names (include "apps.namespace" .) -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* The web address of the forge in platform.yaml; empty if it follows from the host of the repository. */}}
{{- define "apps.forge" -}}
{{- if kindIs "map" .Values.forge -}}
{{- .Values.forge.url | default "" | trimSuffix "/" -}}
{{- end -}}
{{- end -}}

{{/* The repository's path at its forge, owner/name. The forge itself may be below a path of its host. */}}
{{- define "apps.slug" -}}
{{- $path := regexReplaceAll "^([a-z]+://[^/]+/|[^@/]+@[^:/]+:)" .Values.repository "" -}}
{{- $below := regexReplaceAll "^https?://[^/]+/?" (include "apps.forge" .) "" -}}
{{- if and $below (hasPrefix "http" .Values.repository) -}}
{{- $path = trimPrefix (printf "%s/" $below) $path -}}
{{- end -}}
{{- $path | trimSuffix "/" | trimSuffix ".git" -}}
{{- end -}}

{{/* The web address of the repository's files on its branch. */}}
{{- define "apps.files" -}}
{{- $kind := .Values.forge | default "github" -}}
{{- if kindIs "map" $kind -}}
{{- $kind = $kind.kind -}}
{{- end -}}
{{- $page := get (.Files.Get "forges.yaml" | fromYaml) $kind | replace "{branch}" .Values.branch -}}
{{- $url := include "apps.forge" . -}}
{{- if not $url -}}
{{- $host := regexReplaceAll "^([a-z]+://)?([^@/]+@)?([^:/]+(:[0-9]+)?).*$" .Values.repository "${3}" -}}
{{- if not (hasPrefix "http" .Values.repository) -}}
{{- $host = regexReplaceAll ":.*$" $host "" -}}
{{- end -}}
{{- $url = printf "%s://%s" (ternary "http" "https" (hasPrefix "http://" .Values.repository)) $host -}}
{{- end -}}
{{- printf "%s/%s/%s" $url (include "apps.slug" .) ($page | trimSuffix "/{path}") -}}
{{- end -}}

{{/* A template for the ApplicationSet controller, which Helm must not evaluate. */}}
{{- define "apps.field" -}}
{{- printf "{{ %s }}" . -}}
{{- end -}}

{{/* Values of a shared part: those of people, the pins of `gitops bump platform`, and those derived from platform.yaml.
     Takes (list $ name entry prefix); the prefix is the name of the source with the files. */}}
{{- define "apps.values" -}}
{{- $name := index . 1 -}}
{{- $prefix := index . 3 -}}
helm:
  ignoreMissingValueFiles: true
  valueFiles:
    {{- if (index . 2).uses }}
    {{- include "apps.storeFile" (list (index . 0) (index . 2).chart) | nindent 4 }}
    {{- end }}
    - {{ $prefix }}/envs/platform/{{ $name }}.yaml
    - {{ $prefix }}/envs/platform/pins/{{ $name }}.yaml
  {{- with tpl ((index . 2).derived | default "") (index . 0) | trim }}
  valuesObject:
    {{- . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The values file with which a chart of this repository uses another store than its default. Takes (list $ CHART). */}}
{{- define "apps.storeFile" -}}
{{- $store := (index . 0).Values.store -}}
{{- if ne $store "minio" -}}
- /charts/{{ index . 1 }}/stores/{{ $store }}.yaml
{{- end -}}
{{- end -}}

{{/* The port of an address: its own, or the default of its scheme. */}}
{{- define "apps.port" -}}
{{- $address := urlParse . -}}
{{- regexFind ":[0-9]+$" $address.host | trimPrefix ":" | default (ternary "443" "80" (eq $address.scheme "https")) -}}
{{- end -}}

{{/* Values for serving in a cluster other than Argo CD's: the addresses of the store and of MLflow, and network policies
     that allow their ports, because policies have no host names. Without MLflow no alias is set. Takes (list CLUSTER SMOKE). */}}
{{- define "apps.servingElsewhere" -}}
{{- $cluster := index . 0 -}}
s3: {endpointUrl: {{ $cluster.s3 | quote }}}
{{- if $cluster.mlflow }}
registry: {uri: {{ $cluster.mlflow | quote }}}
{{ index . 1 }}
{{- end }}
networkPolicy:
  egress:
    - ports: [{port: {{ include "apps.port" $cluster.s3 }}}]
  {{- if $cluster.mlflow }}
  registryEgress:
    - ports: [{port: {{ include "apps.port" $cluster.mlflow }}}]
  {{- end }}
{{- end -}}
{{/* Values for serving with another store than the default of its chart, which comes from a registry. */}}
{{/* How serving reaches a store other than the one that its chart's defaults name: that chart comes from a registry. */}}
{{- define "apps.servingStore" -}}
s3: {endpointUrl: "http://{{ .Values.store }}.ml-pipeline:9000"}
networkPolicy:
  egress:
    - to:
        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ml-pipeline}}
          podSelector: {matchLabels: {app.kubernetes.io/name: {{ .Values.store }}}}
      ports: [{port: 9000}]
{{- end -}}
