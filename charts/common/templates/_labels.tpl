{{/* What selectors match: these never change in the life of a release. Takes (list $ "component"). */}}
{{- define "pipeline.selectorLabels" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name | quote }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 | quote }}
{{- end -}}

{{/* What matches all pods of a release. */}}
{{- define "pipeline.releaseLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Labels of pods: nothing that a new chart version alone would change, for that would restart them. */}}
{{- define "pipeline.podLabels" -}}
{{ include "pipeline.selectorLabels" . }}
app.kubernetes.io/part-of: ml-pipeline
{{- end -}}

{{/* What pods that ask MLflow carry beside those: its network policy lets in no others. */}}
{{- define "pipeline.mlflowClient" -}}
ml-pipeline/mlflow-client: "true"
{{- end -}}

{{/* Labels of every object. Takes (list $ "component"). */}}
{{- define "pipeline.labels" -}}
{{- $root := index . 0 -}}
{{ include "pipeline.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
{{- end -}}
