{{/* The release's name if it contains "serving", otherwise release-chart. */}}
{{- define "model-serving.fullname" -}}
{{- include "pipeline.fullname" (list . 63 "serving") -}}
{{- end -}}

{{/* The name of another object. Takes (list $ "suffix"). */}}
{{- define "model-serving.suffixed" -}}
{{- include "pipeline.suffixed" (list (include "model-serving.fullname" (index . 0)) (index . 1) 63) -}}
{{- end -}}

{{/* The image. Without tag and digest, the tag is the chart's appVersion. */}}
{{- define "model-serving.image" -}}
{{- include "pipeline.image" (list .Values.image .Chart.AppVersion) -}}
{{- end -}}

{{- define "model-serving.serviceAccountName" -}}
{{- required "serviceAccount.create is false: name the existing account in serviceAccount.name" (include "pipeline.serviceAccountName" (list . (include "model-serving.fullname" .))) -}}
{{- end -}}

{{/* The minimum number of pods. */}}
{{- define "model-serving.minReplicas" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicaCount (or .Values.autoscaling.enabled .Values.autoscaling.external) | default 1 -}}
{{- end -}}

{{/* The model to serve: the pin, or else the alias to follow. The server and its smoke test share this. */}}
{{- define "model-serving.modelEnv" -}}
- name: MODEL_NAME
  value: {{ .Values.model.name | quote }}
{{- if .Values.model.version }}
- name: MODEL_VERSION
  value: {{ .Values.model.version | quote }}
{{- with .Values.model.release }}
- name: MODEL_RELEASE
  value: {{ . | quote }}
{{- end }}
{{- with .Values.model.digest }}
- name: MODEL_DIGEST
  value: {{ . | quote }}
{{- end }}
{{- with .Values.model.uri }}
- name: MODEL_URI
  value: {{ . | quote }}
{{- end }}
{{- else }}
- name: MODEL_STAGE
  value: {{ .Values.model.stage | quote }}
{{- end }}
{{- end -}}

{{/* The version to compare with the model. */}}
{{- define "model-serving.shadowEnv" -}}
{{- with .Values.shadow -}}
{{- if .version -}}
- name: SHADOW_VERSION
  value: {{ .version | quote }}
{{- range $key := list "release" "digest" "uri" }}
{{- with get $.Values.shadow $key }}
- name: SHADOW_{{ upper $key }}
  value: {{ . | quote }}
{{- end }}
{{- end }}
- name: SHADOW_SAMPLE
  value: {{ .sample | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The address of the prediction log. */}}
{{- define "model-serving.logUri" -}}
{{- $names := default dict .Values.global -}}
{{- $environment := default .Release.Namespace $names.environment -}}
{{- $service := default (include "model-serving.fullname" .) $names.service -}}
s3://{{ .Values.predictionLog.bucket }}/{{ default (printf "%s/%s" $environment $service) .Values.predictionLog.prefix }}
{{- end -}}

{{/* The keys of the prediction log's own user. */}}
{{- define "model-serving.logKeysEnv" -}}
{{- with .Values.predictionLog -}}
{{- if and .enabled .existingSecret -}}
{{- range $key := list "ACCESS_KEY_ID" "SECRET_ACCESS_KEY" -}}
- name: PREDICTION_LOG_{{ $key }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.predictionLog.existingSecret | quote }}
      key: AWS_{{ $key }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Not empty if the server uses MLflow: that is, unless every model is pinned to files in the store. */}}
{{- define "model-serving.asksMlflow" -}}
{{- $models := prepend .Values.extraModels .Values.model -}}
{{- if dig "version" "" (default dict .Values.shadow) -}}
{{- $models = append $models .Values.shadow -}}
{{- end -}}
{{- range $models -}}
{{- if not (and .version .digest (hasPrefix "s3://" (default "" .uri))) -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Further models, in the format that the server reads. One that follows an alias names its stage, because MODEL_STAGE is
     not set together with a pin. */}}
{{- define "model-serving.extraModels" -}}
{{- $models := list -}}
{{- range .Values.extraModels -}}
{{- $model := dict "name" .name -}}
{{- if .version -}}
{{- range $key, $value := pick . "version" "digest" "uri" -}}
{{- if $value -}}
{{- $_ := set $model $key $value -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $_ := set $model "stage" (default $.Values.model.stage .stage) -}}
{{- end -}}
{{- $models = append $models $model -}}
{{- end -}}
{{- toJson $models -}}
{{- end -}}

{{/* The port of the collector: that of the address, or the default of its scheme. */}}
{{- define "model-serving.tracingPort" -}}
{{- $address := urlParse .Values.tracing.endpoint -}}
{{- regexFind ":[0-9]+$" $address.host | trimPrefix ":" | default (ternary 443 80 (eq $address.scheme "https")) -}}
{{- end -}}

{{/* Fails with one sentence if values contradict each other. */}}
{{- define "model-serving.validate" -}}
{{- $model := .Values.model -}}
{{- if and .Values.apiKeys.requestsPerSecond (not .Values.apiKeys.existingSecret) -}}
{{- fail "apiKeys.requestsPerSecond limits the requests of each key, but there are no keys: name them in apiKeys.existingSecret." -}}
{{- end -}}
{{- if and .Values.predictionLog.feedback (not (and .Values.predictionLog.enabled .Values.apiKeys.existingSecret)) -}}
{{- fail "predictionLog.feedback needs a log and known callers: set predictionLog.enabled and apiKeys.existingSecret." -}}
{{- end -}}
{{- if and .Values.tracing.enabled (not .Values.tracing.endpoint) -}}
{{- fail "tracing.enabled sends traces to a collector: name its address in tracing.endpoint." -}}
{{- end -}}
{{- if and (not $model.version) (not $model.stage) -}}
{{- fail "Name the model to serve: model.version pins one version, model.stage follows an alias. Both are empty." -}}
{{- end -}}
{{- if and (not $model.version) (or $model.digest $model.uri) -}}
{{- fail "model.digest and model.uri belong to one version: set model.version too, or leave them out to follow model.stage." -}}
{{- end -}}
{{- if and $model.uri (not $model.digest) -}}
{{- fail "model.uri loads files without the registry, so it needs model.digest to verify them." -}}
{{- end -}}
{{- with .Values.shadow -}}
{{- if and (not .version) (or .digest .uri) -}}
{{- fail "shadow.digest and shadow.uri belong to one version: set shadow.version too, or leave them out for no shadow." -}}
{{- end -}}
{{- if and .uri (not .digest) -}}
{{- fail "shadow.uri loads files without the registry, so it needs shadow.digest to verify them." -}}
{{- end -}}
{{- end -}}
{{- include "model-serving.validateExtraModels" . -}}
{{- include "model-serving.validateBatch" . -}}
{{- if and .Values.smoke.alias (not .Values.smoke.enabled) -}}
{{- fail "The smoke test moves smoke.alias: set smoke.enabled, or leave smoke.alias empty." -}}
{{- end -}}
{{- if and .Values.smoke.alias (not $model.version) -}}
{{- fail "smoke.alias moves to the pinned version: set model.version, or leave smoke.alias empty to follow model.stage." -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas." -}}
{{- end -}}
{{- if le (int .Values.rollout.progressDeadlineSeconds) (int .Values.rollout.minReadySeconds) -}}
{{- fail "rollout.progressDeadlineSeconds must be above rollout.minReadySeconds, or no rollout can succeed." -}}
{{- end -}}
{{- if and (eq .Values.rollout.strategy "canary") (not .Values.serviceMonitor.enabled) -}}
{{- fail "rollout.strategy canary needs the metrics in Prometheus: set serviceMonitor.enabled." -}}
{{- end -}}
{{- if and .Values.rollout.trafficRouting (ne .Values.rollout.strategy "canary") -}}
{{- fail "rollout.trafficRouting is for canaries: set rollout.strategy to canary." -}}
{{- end -}}
{{- if and (eq .Values.rollout.trafficRouting "gatewayAPI") (not .Values.httpRoute.enabled) -}}
{{- fail "rollout.trafficRouting gatewayAPI moves the weights of an HTTPRoute: set httpRoute.enabled." -}}
{{- end -}}
{{- if and (eq .Values.rollout.trafficRouting "traefik") (not .Values.ingress.enabled) -}}
{{- fail "rollout.trafficRouting traefik sets weights for the hosts of the Ingress: set ingress.enabled." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (empty .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs at least one name in ingress.hosts." -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (empty .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs a Gateway in httpRoute.parentRefs." -}}
{{- end -}}
{{- if eq (int .Values.service.port) (int .Values.service.metricsPort) -}}
{{- fail "service.port and service.metricsPort are the same: give the metrics another port." -}}
{{- end -}}
{{- if has (int .Values.service.grpcPort) (list (int .Values.service.port) (int .Values.service.metricsPort)) -}}
{{- fail "service.grpcPort is used by another port of the Service: give gRPC a separate port." -}}
{{- end -}}
{{- if and .Values.service.loadBalancerSourceRanges (ne .Values.service.type "LoadBalancer") -}}
{{- fail "service.loadBalancerSourceRanges needs service.type LoadBalancer." -}}
{{- end -}}
{{- end -}}

{{/* The same checks for each further model. */}}
{{- define "model-serving.validateExtraModels" -}}
{{- $names := list .Values.model.name -}}
{{- range .Values.extraModels -}}
{{- if has .name $names -}}
{{- fail (printf "extraModels: %s is already served, by model.name or by another entry. Name each model once." .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- if and .version .stage -}}
{{- fail (printf "extraModels: %s has a version and a stage. Remove the stage to pin the version, or the version to follow the stage." .name) -}}
{{- end -}}
{{- if and (not .version) (or .digest .uri) -}}
{{- fail (printf "extraModels: digest and uri of %s belong to one version: set its version too, or leave them out to follow a stage." .name) -}}
{{- end -}}
{{- if and .uri (not .digest) -}}
{{- fail (printf "extraModels: %s loads files from its uri without the registry, so it needs a digest to verify them." .name) -}}
{{- end -}}
{{- if not (or .version .stage $.Values.model.stage) -}}
{{- fail (printf "extraModels: %s has no version and no stage, and model.stage is empty. Set one of them." .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
