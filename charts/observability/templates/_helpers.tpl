{{- define "observability.fullname" -}}
{{- include "pipeline.fullname" (list . 63) -}}
{{- end -}}

{{/* The name of a further object. Takes (list $ "suffix"). */}}
{{- define "observability.suffixed" -}}
{{- include "pipeline.suffixed" (list (include "observability.fullname" (index . 0)) (index . 1) 63) -}}
{{- end -}}

{{/* Refuses values that contradict each other, in a sentence. */}}
{{- define "observability.validate" -}}
{{- $names := list -}}
{{- range .Values.serviceMonitors -}}
{{- if has .name $names -}}
{{- fail (printf "serviceMonitors names %s twice." .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
