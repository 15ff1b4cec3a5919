{{/* Labels that selectors match. They never change in the life of a release. Takes (list $ "component"). */}}
{{- define "pipeline.selectorLabels" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name | quote }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 | quote }}
{{- end -}}

{{/* Labels that all pods of a release have. */}}
{{- define "pipeline.releaseLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Labels of pods. None of them depends on the chart's version, so a new version alone does not restart pods. */}}
{{- define "pipeline.podLabels" -}}
{{ include "pipeline.selectorLabels" . }}
app.kubernetes.io/part-of: ml-pipeline
{{- end -}}

{{/* An additional label of pods that use MLflow. MLflow's network policy lets in only pods with this label. */}}
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
