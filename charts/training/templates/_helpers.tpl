{{/* The chart's name where the release's name does not hold it already. A CronJob's name leaves its Jobs eleven characters
     of a DNS label's 63. */}}
{{- define "training.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selectors match: these never change in the life of a release. Takes (list $ "component"). */}}
{{- define "training.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of pods: nothing that a new chart version alone would change, for that would restart them. */}}
{{- define "training.podLabels" -}}
{{ include "training.selectorLabels" . }}
app.kubernetes.io/part-of: ml-pipeline
{{- end -}}

{{/* Labels of every object. Takes (list $ "component"). */}}
{{- define "training.labels" -}}
{{- $root := index . 0 -}}
{{ include "training.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* repository:tag@digest. The chart's appVersion is the tag where neither tag nor digest is named. Takes (list $ image). */}}
{{- define "training.image" -}}
{{- $image := index . 1 -}}
{{- $tag := ternary $image.tag (default (index . 0).Chart.AppVersion $image.tag) (not (empty $image.digest)) -}}
{{- $image.repository -}}
{{- with $tag }}:{{ . }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* Pod Security `restricted`, on the user that the image is made for. */}}
{{- define "training.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "training.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where every pod of the chart runs, and how its images are pulled. */}}
{{- define "training.placement" -}}
{{- $placement := dict -}}
{{- range $key := list "imagePullSecrets" "priorityClassName" "nodeSelector" "affinity" "tolerations" -}}
{{- with index $.Values $key -}}
{{- $_ := set $placement $key . -}}
{{- end -}}
{{- end -}}
{{- if $placement -}}
{{- toYaml $placement -}}
{{- end -}}
{{- end -}}

{{/* DNS, for a NetworkPolicy. */}}
{{- define "training.dnsEgress" -}}
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

{{/* The registry and who asks it. */}}
{{- define "training.registryEnv" -}}
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

{{/* The run itself: the only container, or the one before the bump. */}}
{{- define "training.container" -}}
- name: training
  image: {{ include "training.image" (list . .Values.image) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [run, --model-dir, {{ printf "/models/%s" (include "training.model" .) | quote }}]
  env:
    {{- include "training.registryEnv" . | nindent 4 }}
    {{- with .Values.s3.endpointUrl }}
    - name: MLFLOW_S3_ENDPOINT_URL
      value: {{ . | quote }}
    {{- end }}
    - name: AWS_DEFAULT_REGION
      value: {{ .Values.s3.region | quote }}
    # For the sentence that is written when the store refuses the keys.
    - name: S3_SECRET_NAME
      value: {{ .Values.s3.existingSecret }}
    - name: AWS_ACCESS_KEY_ID
      valueFrom:
        secretKeyRef:
          name: {{ .Values.s3.existingSecret }}
          key: AWS_ACCESS_KEY_ID
    - name: AWS_SECRET_ACCESS_KEY
      valueFrom:
        secretKeyRef:
          name: {{ .Values.s3.existingSecret }}
          key: AWS_SECRET_ACCESS_KEY
  resources:
    {{- toYaml (default .Values.resources (include "training.file" . | fromYaml).resources) | nindent 4 }}
  securityContext:
    {{- include "training.containerSecurityContext" . | nindent 4 }}
  volumeMounts:
    - name: config
      mountPath: {{ printf "/models/%s" (include "training.model" .) | quote }}
    - name: tmp
      mountPath: /tmp
    {{- if .Values.dataVolume }}
    - name: data
      mountPath: /data
      readOnly: true
    {{- end }}
{{- end -}}

{{/* The commit of the new version's pins. */}}
{{- define "training.bumpContainer" -}}
- name: bump
  image: {{ include "training.image" (list . .Values.bump.image) }}
  imagePullPolicy: {{ .Values.bump.image.pullPolicy }}
  args: [bump, {{ .Values.bump.target }}, --model, "@candidate"]
  env:
    - name: GITOPS_REPOSITORY
      value: {{ .Values.bump.repository | quote }}
    - name: GITOPS_BRANCH
      value: {{ .Values.bump.branch | quote }}
    - name: GIT_SSH_COMMAND
      value: >-
        ssh -i /etc/gitops/ssh-privatekey -o IdentitiesOnly=yes
        -o UserKnownHostsFile=/etc/gitops/known_hosts -o StrictHostKeyChecking=yes
    {{- include "training.registryEnv" . | nindent 4 }}
  resources:
    {{- toYaml .Values.bump.resources | nindent 4 }}
  securityContext:
    {{- include "training.containerSecurityContext" . | nindent 4 }}
  volumeMounts:
    - name: deploy-key
      mountPath: /etc/gitops
    - name: tmp
      mountPath: /tmp
{{- end -}}

{{/* The model folder's name: the value, or what the release's name says after `training-`. */}}
{{- define "training.model" -}}
{{- default (trimPrefix "training-" .Release.Name) .Values.name -}}
{{- end -}}

{{/* The model's training.yaml, parsed and, as far as the chart reads it, checked; `training run` checks the rest. */}}
{{- define "training.file" -}}
{{- $way := "give the model's file by --set-file training=models/NAME/training.yaml" -}}
{{- if not (trim .Values.training) -}}
{{- fail (printf "training is empty: %s." $way) -}}
{{- end -}}
{{- $file := fromYaml .Values.training -}}
{{- if hasKey $file "Error" -}}
{{- fail (printf "training is not a training.yaml (%s): %s." $file.Error $way) -}}
{{- end -}}
{{- if not (and (kindIs "string" $file.data) $file.data (kindIs "string" $file.name) $file.name) -}}
{{- fail (printf "training names no data or no name: %s." $way) -}}
{{- end -}}
{{- with $file.schedule -}}
{{- if not (and (kindIs "map" .) (kindIs "string" .cron) (regexMatch "^(@[a-z]+|\\S+( +\\S+){4})$" (default "" .cron))) -}}
{{- fail "training: schedule.cron is not a cron line such as \"0 3 * * 1\"." -}}
{{- end -}}
{{- if not (kindIs "bool" (default false .suspend)) -}}
{{- fail "training: schedule.suspend is neither true nor false." -}}
{{- end -}}
{{- end -}}
{{- with $file.resources -}}
{{- if not (and (kindIs "map" .) (kindIs "map" .requests) (kindIs "map" .limits)) -}}
{{- fail "training: resources holds requests and limits, as Kubernetes writes them." -}}
{{- end -}}
{{- end -}}
{{- toYaml $file -}}
{{- end -}}

{{/* Refuses values that contradict each other, in a sentence. */}}
{{- define "training.validate" -}}
{{- $file := include "training.file" . | fromYaml -}}
{{- if and (hasPrefix "/data/" $file.data) (not .Values.dataVolume) -}}
{{- fail (printf "training: data is %s, and dataVolume names no volume to mount at /data." $file.data) -}}
{{- end -}}
{{- if gt (len .Values.dataVolume) 1 -}}
{{- fail "dataVolume is one volume: name persistentVolumeClaim or configMap, not both." -}}
{{- end -}}
{{- if and .Values.bump.enabled (not .Values.bump.repository) -}}
{{- fail "bump.enabled needs the SSH address of the git repository in bump.repository." -}}
{{- end -}}
{{- if and .Values.bump.enabled (not .Values.bump.target) -}}
{{- fail "bump.enabled needs the service that gets the new version in bump.target, as ENVIRONMENT/SERVICE." -}}
{{- end -}}
{{- end -}}
