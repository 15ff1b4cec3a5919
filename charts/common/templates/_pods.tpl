{{/* The only place that adds values to pods, the same way for every pod: a chart describes its own part of the pod as data
     and passes it here. pods.yaml next to this folder lists the values. */}}

{{/* Merges two lists. Entries of MORE replace those of OWN with the same KEY; the others follow. Takes (list OWN MORE KEY),
     returns JSON: {"entries": [...]}. */}}
{{- define "pipeline.override" -}}
{{- $key := index . 2 -}}
{{- $more := dict -}}
{{- range index . 1 -}}
{{- $_ := set $more (get . $key) . -}}
{{- end -}}
{{- $entries := list -}}
{{- $known := list -}}
{{- range concat (index . 0 | default list) (index . 1 | default list) -}}
{{- $name := get . $key -}}
{{- if not (has $name $known) -}}
{{- $known = append $known $name -}}
{{- $entries = append $entries (ternary (get $more $name) . (hasKey $more $name)) -}}
{{- end -}}
{{- end -}}
{{- dict "entries" $entries | toJson -}}
{{- end -}}

{{/* A dictionary without the keys whose value is null, as JSON. */}}
{{- define "pipeline.filled" -}}
{{- $filled := dict -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $filled $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $filled -}}
{{- end -}}

{{/* The values for one kind of pod, as JSON. Values in `pods` override those of the whole chart. Empty ones are left out.
     Takes (list $ "component"). */}}
{{- define "pipeline.podSettings" -}}
{{- $values := (index . 0).Values -}}
{{- $own := get ($values.pods | default dict) (index . 1) | default dict -}}
{{- $settings := dict -}}
{{- range $key := list "podLabels" "podAnnotations" "podSecurityContext" "containerSecurityContext" "extraEnv" "extraEnvFrom" "extraVolumes" "extraVolumeMounts" "initContainers" "sidecars" "nodeSelector" "affinity" "tolerations" "topologySpreadConstraints" "priorityClassName" "runtimeClassName" "hostAliases" "dnsPolicy" "dnsConfig" -}}
{{- $value := ternary (get $own $key) (get $values $key) (hasKey $own $key) -}}
{{- if not (empty $value) -}}
{{- $_ := set $settings $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $settings -}}
{{- end -}}

{{/* Labels and annotations of a pod. Takes (list $ "component" LABELS ANNOTATIONS), two dictionaries. */}}
{{- define "pipeline.podMetadata" -}}
{{- $settings := include "pipeline.podSettings" . | fromJson -}}
{{- range $name := list "name" "instance" "component" -}}
{{- if hasKey ($settings.podLabels | default dict) (printf "app.kubernetes.io/%s" $name) -}}
{{- fail (printf "podLabels sets app.kubernetes.io/%s, but selectors find the pods by this label: leave it out." $name) -}}
{{- end -}}
{{- end -}}
{{- with merge dict ($settings.podAnnotations | default dict) (index . 3) -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{ end -}}
labels:
  {{- merge dict ($settings.podLabels | default dict) (index . 2) | toYaml | nindent 2 }}
{{- end -}}

{{/* The pod template of a workload: metadata and spec. Takes (list $ "component" POD). POD is a dictionary with the chart's
     own `spec`, and optionally `labels` and `annotations`. */}}
{{- define "pipeline.podTemplate" -}}
{{- $pod := index . 2 -}}
{{- $labels := merge (include "pipeline.podLabels" . | fromYaml) ($pod.labels | default dict) -}}
metadata:
  {{- include "pipeline.podMetadata" (list (index . 0) (index . 1) $labels ($pod.annotations | default dict)) | nindent 2 }}
spec:
  {{- include "pipeline.podSpec" (list (index . 0) (index . 1) $pod.spec) | nindent 2 }}
{{- end -}}

{{/* A pod's spec. Takes (list $ "component" SPEC). SPEC is the chart's own part, as a dictionary. */}}
{{- define "pipeline.podSpec" -}}
{{- $root := index . 0 -}}
{{- $spec := index . 2 -}}
{{- $settings := include "pipeline.podSettings" . | fromJson -}}
{{- $_ := set $spec "automountServiceAccountToken" false -}}
{{- /* With service links, a Service called mlflow sets MLFLOW_PORT to tcp://..., which MLflow reads as its port. */ -}}
{{- $_ := set $spec "enableServiceLinks" false -}}
{{- with $root.Values.imagePullSecrets -}}
{{- $_ := set $spec "imagePullSecrets" . -}}
{{- end -}}
{{- range $key := list "nodeSelector" "tolerations" "topologySpreadConstraints" "priorityClassName" "runtimeClassName" "hostAliases" "dnsPolicy" "dnsConfig" -}}
{{- with get $settings $key -}}
{{- $_ := set $spec $key . -}}
{{- end -}}
{{- end -}}
{{- /* Each kind of affinity is replaced separately: a node affinity in the values keeps the rule that separates two servers.
       */ -}}
{{- with $settings.affinity -}}
{{- $affinity := deepCopy ($spec.affinity | default dict) -}}
{{- range $kind, $terms := . -}}
{{- $_ := set $affinity $kind $terms -}}
{{- end -}}
{{- $_ := set $spec "affinity" (include "pipeline.filled" $affinity | fromJson) -}}
{{- end -}}
{{- with include "pipeline.filled" $settings.podSecurityContext | fromJson -}}
{{- $_ := set $spec "securityContext" . -}}
{{- end -}}
{{- $volumes := include "pipeline.override" (list $spec.volumes $settings.extraVolumes "name") | fromJson -}}
{{- with concat $volumes.entries (include "pipeline.caVolumes" $root | fromJsonArray) -}}
{{- $_ := set $spec "volumes" . -}}
{{- end -}}
{{- /* Sidecars come first because the other containers may need them. As init containers that restart, they let a Job end.
       */ -}}
{{- $first := list -}}
{{- range $settings.sidecars -}}
{{- $first = append $first (merge (dict "restartPolicy" "Always") .) -}}
{{- end -}}
{{- $first = concat $first ($settings.initContainers | default list) -}}
{{- $init := list -}}
{{- range $first -}}
{{- $init = append $init (include "pipeline.secured" (list . $settings) | fromJson) -}}
{{- end -}}
{{- range $spec.initContainers -}}
{{- $init = append $init (include "pipeline.container" (list $root $settings .) | fromJson) -}}
{{- end -}}
{{- with $init -}}
{{- $_ := set $spec "initContainers" . -}}
{{- end -}}
{{- $containers := list -}}
{{- range $spec.containers -}}
{{- $containers = append $containers (include "pipeline.container" (list $root $settings .) | fromJson) -}}
{{- end -}}
{{- $_ := set $spec "containers" $containers -}}
{{- toYaml $spec -}}
{{- end -}}

{{/* A container with the chart's security context, unless it has its own. Takes (list CONTAINER SETTINGS). */}}
{{- define "pipeline.secured" -}}
{{- $container := index . 0 -}}
{{- $context := include "pipeline.filled" (index . 1).containerSecurityContext | fromJson -}}
{{- if and $context (not (hasKey $container "securityContext")) -}}
{{- $_ := set $container "securityContext" $context -}}
{{- end -}}
{{- toJson $container -}}
{{- end -}}

{{/* One of the chart's own containers. Takes (list $ SETTINGS CONTAINER). */}}
{{- define "pipeline.container" -}}
{{- $root := index . 0 -}}
{{- $settings := index . 1 -}}
{{- $container := index . 2 -}}
{{- $env := concat ($container.env | default list) (include "pipeline.caEnv" $root | fromJsonArray) -}}
{{- with (include "pipeline.override" (list $env $settings.extraEnv "name") | fromJson).entries -}}
{{- $_ := set $container "env" . -}}
{{- end -}}
{{- with concat ($container.envFrom | default list) ($settings.extraEnvFrom | default list) -}}
{{- $_ := set $container "envFrom" . -}}
{{- end -}}
{{- $mounts := concat ($container.volumeMounts | default list) (include "pipeline.caMounts" $root | fromJsonArray) -}}
{{- with (include "pipeline.override" (list $mounts $settings.extraVolumeMounts "mountPath") | fromJson).entries -}}
{{- $_ := set $container "volumeMounts" . -}}
{{- end -}}
{{- include "pipeline.secured" (list $container $settings) -}}
{{- end -}}
