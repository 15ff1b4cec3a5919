{{- define "observability.fullname" -}}
{{- include "pipeline.fullname" (list . 63) -}}
{{- end -}}

{{/* The name of another object. Takes (list $ "suffix"). */}}
{{- define "observability.suffixed" -}}
{{- include "pipeline.suffixed" (list (include "observability.fullname" (index . 0)) (index . 1) 63) -}}
{{- end -}}

{{/*
The content of a file with its placeholders replaced by values of `thresholds`: ${group.name} by the number,
${group.name:percent} by the percentage, and ${group.name:bound} by the label `le` of a histogram (`1.0`, never `1`). In JSON, a
string that is only a placeholder becomes a number. Takes (list $ "path"). compose.yaml works without Helm, so
tools/thresholds.py does the same for it.
*/}}
{{- define "observability.filled" -}}
{{- $root := index . 0 -}}
{{- $path := index . 1 -}}
{{- $text := $root.Files.Get $path | trim -}}
{{- range $group, $settings := $root.Values.thresholds -}}
{{- range $name, $value := $settings -}}
{{- if hasSuffix ".json" $path -}}
{{- $text = $text | replace (printf "\"${%s.%s}\"" $group $name) (toJson $value) -}}
{{- end -}}
{{- $text = $text | replace (printf "${%s.%s}" $group $name) (toJson $value) -}}
{{- $bound := contains "." (toJson $value) | ternary (toJson $value) (printf "%s.0" (toJson $value)) -}}
{{- $text = $text | replace (printf "${%s.%s:bound}" $group $name) $bound -}}
{{- $text = $text | replace (printf "${%s.%s:percent}" $group $name) (printf "%s %%" (mulf 100 $value | toJson)) -}}
{{- end -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* Fails with one sentence if values contradict each other. */}}
{{- define "observability.validate" -}}
{{- $bounds := list 0.0005 0.001 0.0015 0.002 0.003 0.005 0.0075 0.01 0.015 0.025 0.05 0.1 0.25 0.5 1.0 2.5 5.0 10.0 -}}
{{- if not (has (float64 .Values.thresholds.slo.slowSeconds) $bounds) -}}
{{- fail (printf "thresholds.slo.slowSeconds must be one of the bounds of the serving API's histogram, but is %v. They are %s." .Values.thresholds.slo.slowSeconds (join ", " $bounds)) -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.serviceMonitors -}}
{{- if has .name $names -}}
{{- fail (printf "serviceMonitors names %s twice." .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
