{{/* The name of a release's main object. It is a DNS label that a Service may have: it starts with a letter and has no dot.
     Takes (list $ LONGEST) or (list $ LONGEST WORD). If the release's name contains neither the chart's name nor WORD, which
     is part of it, the chart's name is added: at the end, or in front if the release's name starts with a digit. */}}
{{- define "pipeline.fullname" -}}
{{- $root := index . 0 -}}
{{- $release := $root.Release.Name | replace "." "-" -}}
{{- $chart := $root.Chart.Name | lower | replace "_" "-" -}}
{{- $word := $chart -}}
{{- if gt (len .) 2 -}}
{{- /* Under an alias, .Chart.Name is the alias. */ -}}
{{- $word = ternary (index . 2) $chart (contains (index . 2) $chart) -}}
{{- end -}}
{{- $name := printf "%s-%s" $release $chart -}}
{{- if $root.Values.fullnameOverride -}}
{{- $name = $root.Values.fullnameOverride -}}
{{- else if regexMatch "^[0-9]" $release -}}
{{- $name = printf "%s-%s" $chart $release -}}
{{- else if contains $word $release -}}
{{- $name = $release -}}
{{- end -}}
{{- regexReplaceAll "-+$" ($name | trunc (index . 1)) "" -}}
{{- end -}}

{{/* The name of another object: NAME-SUFFIX, shortened in front of the suffix. Takes (list NAME SUFFIX LONGEST). */}}
{{- define "pipeline.suffixed" -}}
{{- $room := sub (index . 2) (add1 (len (index . 1))) | int -}}
{{- printf "%s-%s" (regexReplaceAll "-+$" (index . 0 | trunc $room) "") (index . 1) -}}
{{- end -}}

{{/* repository:tag@digest of an image. Takes (list IMAGE TAG). TAG is used if IMAGE has neither tag nor digest. */}}
{{- define "pipeline.image" -}}
{{- $image := index . 0 -}}
{{- $tag := $image.tag -}}
{{- if not (or $tag $image.digest) -}}
{{- $tag = index . 1 -}}
{{- end -}}
{{- if not (or $tag $image.digest) -}}
{{- fail (printf "The image %s needs a tag or a digest." $image.repository) -}}
{{- end -}}
{{- $image.repository -}}
{{- with $tag }}:{{ . }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* The ServiceAccount of the pods: the chart's own, the one that the values name, or nothing. Takes (list $ NAME). */}}
{{- define "pipeline.serviceAccountName" -}}
{{- $account := (index . 0).Values.serviceAccount -}}
{{- if $account.create -}}
{{- default (index . 1) $account.name -}}
{{- else -}}
{{- $account.name -}}
{{- end -}}
{{- end -}}
