{{/* The Service of one role of a canary. Argo Rollouts adds the pods of that role to its selector. It has a separate
     component label, so no ServiceMonitor selects it together with the main Service. Takes (list $ "stable"). */}}
{{- define "model-serving.roleService" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "model-serving.suffixed" . }}
  labels:
    {{- include "pipeline.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  selector:
    {{- include "pipeline.selectorLabels" (list $root "server") | nindent 4 }}
  ports:
    - name: http
      port: {{ $root.Values.service.port }}
      targetPort: http
      appProtocol: http
    {{- if $root.Values.service.grpcPort }}
    - name: grpc
      port: {{ $root.Values.service.grpcPort }}
      targetPort: grpc
      appProtocol: kubernetes.io/h2c
    {{- end }}
{{- end -}}

{{/* The provider of a metric: a Job that sends a request to the canary only. Takes (list $ ALIAS RETRIES): the alias to
     move, or "". */}}
{{- define "model-serving.smokeProvider" -}}
{{- $root := index . 0 -}}
{{- $pod := include "model-serving.smokePod" (list $root (include "model-serving.suffixed" (list $root "canary")) (index . 1)) | fromYaml -}}
job:
  metadata:
    labels:
      {{- include "pipeline.labels" (list $root "smoke") | nindent 6 }}
  spec:
    backoffLimit: {{ index . 2 }}
    activeDeadlineSeconds: {{ add (mul 2 $root.Values.smoke.timeoutSeconds) 60 }}
    template:
      {{- include "pipeline.podTemplate" (list $root "smoke" $pod) | nindent 6 }}
{{- end -}}

{{/* Labels of the series of one role. Argo Rollouts fills in the hash of its pods. Takes (list $ "canary" MORE). */}}
{{- define "model-serving.series" -}}
{{- $root := index . 0 -}}
namespace={{ $root.Release.Namespace | quote }}, job={{ include "model-serving.fullname" $root | quote }}, rollouts_pod_template_hash="{{ printf "{{args.%s}}" (index . 1) }}"
{{- with index . 2 }}, {{ . }}{{ end }}
{{- end -}}

{{/* The increase of a counter for one role within the window. Takes (list $ "canary" METRIC MORE BY). */}}
{{- define "model-serving.grown" -}}
{{- $series := include "model-serving.series" (list (index . 0) (index . 1) (index . 3)) -}}
sum{{ with index . 4 }} by ({{ . }}){{ end }} (increase({{ index . 2 }}{ {{- $series -}} }[{{ int64 (index . 0).Values.rollout.canary.analysis.windowSeconds }}s]))
{{- end -}}

{{- define "model-serving.routes" -}}
route=~"/predict|/invocations|/v2/.+/infer"
{{- end -}}

{{/* The share of failed requests of one role, if there were enough requests. The label `role` names it. */}}
{{- define "model-serving.errorShare" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $routes := include "model-serving.routes" . -}}
{{- $all := include "model-serving.grown" (list $root $role "serving_requests_total" $routes "") -}}
{{- $failed := include "model-serving.grown" (list $root $role "serving_requests_total" (printf "%s, status=~\"5..\"" $routes) "") -}}
label_replace(
  (({{ $failed }}) or vector(0)) / ({{ $all }} >= {{ int64 $root.Values.rollout.canary.analysis.minRequests }}),
  "role", {{ $role | quote }}, "", ""
)
{{- end -}}

{{/* A quantile of the latency of one role in seconds, if there were enough requests. */}}
{{- define "model-serving.latency" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $analysis := $root.Values.rollout.canary.analysis -}}
{{- $routes := include "model-serving.routes" . -}}
{{- $all := include "model-serving.grown" (list $root $role "serving_requests_total" $routes "") -}}
{{- $buckets := include "model-serving.grown" (list $root $role "serving_request_duration_seconds_bucket" $routes "le") -}}
label_replace(
  histogram_quantile({{ $analysis.latencyQuantile }}, {{ $buckets }})
    and on () ({{ $all }} >= {{ int64 $analysis.minRequests }}),
  "role", {{ $role | quote }}, "", ""
)
{{- end -}}

{{/* The share of each class in the answers of one role, including classes that only the other role answered. It is never
     zero, because it is a divisor. */}}
{{- define "model-serving.classShares" -}}
{{- $root := index . 0 -}}
{{- $model := printf "model_name=%q" $root.Values.model.name -}}
{{- $rows := include "model-serving.grown" (list $root (index . 1) "serving_predictions_total" $model "class") -}}
{{- $others := include "model-serving.grown" (list $root (index . 2) "serving_predictions_total" $model "class") -}}
{{- $all := include "model-serving.grown" (list $root (index . 1) "serving_predictions_total" $model "") -}}
clamp_min(({{ $rows }} or 0 * {{ $others }}) / on () group_left () ({{ $all }} >= {{ int64 $root.Values.rollout.canary.analysis.minRows }}), 0.001)
{{- end -}}

{{/* How traffic gets to the canary. Empty means by the number of pods. */}}
{{- define "model-serving.trafficRouting" -}}
{{- $routing := .Values.rollout.trafficRouting -}}
{{- if eq $routing "traefik" -}}
trafficRouting:
  traefik:
    weightedTraefikServiceName: {{ include "model-serving.fullname" . }}
{{- else if eq $routing "gatewayAPI" -}}
trafficRouting:
  plugins:
    argoproj-labs/gatewayAPI:
      httpRoute: {{ include "model-serving.fullname" . }}
      namespace: {{ .Release.Namespace | quote }}
{{- end -}}
{{- end -}}
