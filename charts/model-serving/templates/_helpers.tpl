{{/* The release's name where it says "serving" itself, else release-chart; at most 63 characters, as a DNS label. */}}
{{- define "model-serving.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains "serving" .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a further object. Takes (list $ "smoke"). Cut so that the suffix always stays. */}}
{{- define "model-serving.suffixed" -}}
{{- $suffix := index . 1 -}}
{{- $room := sub 62 (len $suffix) | int -}}
{{- printf "%s-%s" (include "model-serving.fullname" (index . 0) | trunc $room | trimSuffix "-") $suffix -}}
{{- end -}}

{{/* What selectors match: these never change in the life of a release. Takes (list $ "component"). */}}
{{- define "model-serving.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of pods: nothing that a new chart version alone would change, for that would restart them. */}}
{{- define "model-serving.podLabels" -}}
{{ include "model-serving.selectorLabels" . }}
app.kubernetes.io/part-of: ml-pipeline
{{- end -}}

{{/* Labels of every object. Takes (list $ "component"). */}}
{{- define "model-serving.labels" -}}
{{- $root := index . 0 -}}
{{ include "model-serving.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* repository:tag@digest. The chart's appVersion is the tag where neither tag nor digest is named. */}}
{{- define "model-serving.image" -}}
{{- $image := .Values.image -}}
{{- $tag := ternary $image.tag (default .Chart.AppVersion $image.tag) (not (empty $image.digest)) -}}
{{- $image.repository -}}
{{- with $tag }}:{{ . }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "model-serving.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "model-serving.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.create is false: name the existing account in serviceAccount.name" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Pod Security `restricted`, on the user that the image is made for. */}}
{{- define "model-serving.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "model-serving.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The pods that run always: their lowest number. */}}
{{- define "model-serving.minReplicas" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicaCount .Values.autoscaling.enabled -}}
{{- end -}}

{{/* Which model: the pin where there is one, else the alias to follow. Shared by the server and its smoke test. */}}
{{- define "model-serving.modelEnv" -}}
- name: MODEL_NAME
  value: {{ .Values.model.name | quote }}
{{- if .Values.model.version }}
- name: MODEL_VERSION
  value: {{ .Values.model.version | quote }}
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

{{/* Further models as the server reads them. A followed one names its stage: MODEL_STAGE is not there beside a pin. */}}
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

{{/* The registry and who asks it. */}}
{{- define "model-serving.registryEnv" -}}
- name: MLFLOW_TRACKING_URI
  value: {{ .Values.registry.uri | quote }}
{{- with .Values.registry.existingSecret }}
- name: MLFLOW_TRACKING_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: username
- name: MLFLOW_TRACKING_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: password
{{- end }}
{{- end -}}

{{/* Names are looked up at the cluster's DNS, which k3s and kubeadm alike label k8s-app=kube-dns. */}}
{{- define "model-serving.dnsEgress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
      podSelector:
        matchLabels:
          k8s-app: kube-dns
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end -}}

{{/* The port of the collector: the address's, or that of its scheme. */}}
{{- define "model-serving.tracingPort" -}}
{{- $address := urlParse .Values.tracing.endpoint -}}
{{- regexFind ":[0-9]+$" $address.host | trimPrefix ":" | default (ternary 443 80 (eq $address.scheme "https")) -}}
{{- end -}}

{{/* Refuses values that contradict each other, in a sentence. */}}
{{- define "model-serving.validate" -}}
{{- $model := .Values.model -}}
{{- if and .Values.apiKeys.requestsPerSecond (not .Values.apiKeys.existingSecret) -}}
{{- fail "apiKeys.requestsPerSecond bounds what each key may ask, and there are no keys: name them in apiKeys.existingSecret." -}}
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
{{- fail "model.uri loads files without asking the registry, so it needs model.digest to check them against." -}}
{{- end -}}
{{- include "model-serving.validateExtraModels" . -}}
{{- if and .Values.smoke.alias (not .Values.smoke.enabled) -}}
{{- fail "smoke.alias is moved by the smoke test: set smoke.enabled, or leave smoke.alias empty." -}}
{{- end -}}
{{- if and .Values.smoke.alias (not $model.version) -}}
{{- fail "smoke.alias is moved to the pinned version: set model.version, or leave smoke.alias empty to follow model.stage." -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas." -}}
{{- end -}}
{{- if le (int .Values.rollout.progressDeadlineSeconds) (int .Values.rollout.minReadySeconds) -}}
{{- fail "rollout.progressDeadlineSeconds must be above rollout.minReadySeconds, or no rollout can succeed." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (empty .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs at least one name in ingress.hosts." -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (empty .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs a Gateway in httpRoute.parentRefs." -}}
{{- end -}}
{{- if and .Values.service.loadBalancerSourceRanges (ne .Values.service.type "LoadBalancer") -}}
{{- fail "service.loadBalancerSourceRanges needs service.type LoadBalancer." -}}
{{- end -}}
{{- end -}}

{{/* The same of each further model. */}}
{{- define "model-serving.validateExtraModels" -}}
{{- $names := list .Values.model.name -}}
{{- range .Values.extraModels -}}
{{- if has .name $names -}}
{{- fail (printf "extraModels: %s is served already, by model.name or by another entry. Each model is served once." .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- if and .version .stage -}}
{{- fail (printf "extraModels: %s has a version and a stage. Leave out the stage to pin the version, or the version to follow the stage." .name) -}}
{{- end -}}
{{- if and (not .version) (or .digest .uri) -}}
{{- fail (printf "extraModels: digest and uri of %s belong to one version: set its version too, or leave them out to follow a stage." .name) -}}
{{- end -}}
{{- if and .uri (not .digest) -}}
{{- fail (printf "extraModels: %s loads files from its uri without asking the registry, so it needs a digest to check them against." .name) -}}
{{- end -}}
{{- if not (or .version .stage $.Values.model.stage) -}}
{{- fail (printf "extraModels: %s has no version, and no stage that it could take from model.stage. Set one of them." .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
