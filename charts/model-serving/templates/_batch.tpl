{{/* The image that can read Parquet: a variant of the server's image with the same code. */}}
{{- define "model-serving.batchImage" -}}
{{- $own := .Values.batch.image -}}
{{- $tag := $own.tag -}}
{{- if not (or $tag $own.digest) -}}
{{- $tag = printf "%s-batch" (default .Chart.AppVersion .Values.image.tag | trimSuffix "-sklearn") -}}
{{- end -}}
{{- $digest := ternary $own.digest .Values.image.batchDigest (not (empty (or $own.tag $own.digest))) -}}
{{- $image := dict "repository" (default .Values.image.repository $own.repository) "tag" $tag "digest" $digest -}}
{{- include "pipeline.image" (list $image .Chart.AppVersion) -}}
{{- end -}}

{{/* Not empty if batch pods use MLflow: that is, unless the pin's files are in the store. */}}
{{- define "model-serving.batchAsksMlflow" -}}
{{- if not (hasPrefix "s3://" .Values.model.uri) -}}
true
{{- end -}}
{{- end -}}

{{/* A pod that answers its share of the files. */}}
{{- define "model-serving.batchPod" -}}
{{- $batch := .Values.batch -}}
{{- if include "model-serving.batchAsksMlflow" . }}
labels:
  {{- include "pipeline.mlflowClient" . | nindent 2 }}
{{- end }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "model-serving.suffixed" (list . "batch") | quote }}
  containers:
    - name: batch
      image: {{ include "model-serving.batchImage" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
      args: [score]
      envFrom:
        - configMapRef:
            name: {{ include "model-serving.fullname" . }}
      env:
        {{- include "model-serving.modelEnv" . | nindent 8 }}
        {{- if include "model-serving.batchAsksMlflow" . }}
        {{- include "pipeline.registryEnv" (list . .Values.registry.existingSecret) | nindent 8 }}
        {{- end }}
        {{- with include "pipeline.storeKeysEnv" .Values.s3.existingSecret }}
        {{- . | nindent 8 }}
        {{- end }}
        - name: SCORE_INPUT
          value: {{ $batch.input | quote }}
        - name: SCORE_OUTPUT
          value: {{ $batch.output | quote }}
        - name: SCORE_FORMAT
          value: {{ $batch.format | quote }}
        - name: SCORE_KEEP
          value: {{ $batch.keep | quote }}
        - name: SCORE_CSV_SEPARATOR
          value: {{ $batch.csvSeparator | quote }}
        - name: SCORE_MAX_REJECTED
          value: {{ $batch.maxRejected | quote }}
        - name: SCORE_SHARDS
          value: {{ $batch.shards | quote }}
        - name: SCORE_SHARD
          valueFrom:
            fieldRef:
              fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
        {{- with $batch.s3.endpointUrl }}
        - name: DATA_S3_ENDPOINT_URL
          value: {{ . | quote }}
        {{- end }}
        {{- with $batch.s3.region }}
        - name: DATA_AWS_REGION
          value: {{ . | quote }}
        {{- end }}
        {{- with $batch.s3.existingSecret }}
        {{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
        - name: DATA_{{ . }}
          valueFrom:
            secretKeyRef:
              name: {{ $batch.s3.existingSecret | quote }}
              key: {{ . }}
        {{- end }}
        {{- end }}
      resources:
        {{- toYaml $batch.resources | nindent 8 }}
      volumeMounts:
        - name: models
          mountPath: /var/cache/models
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: models
      emptyDir:
        sizeLimit: {{ .Values.modelVolume.sizeLimit | quote }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ $batch.workSpace | quote }}
{{- end -}}

{{/* Fails with one sentence if values of `batch` contradict each other. */}}
{{- define "model-serving.validateBatch" -}}
{{- if .Values.batch.enabled -}}
{{- if not (and .Values.model.version .Values.model.digest) -}}
{{- fail "batch.enabled needs a pinned version: set model.version and model.digest, or turn it off." -}}
{{- end -}}
{{- if not (and .Values.batch.input .Values.batch.output) -}}
{{- fail "batch.enabled needs batch.input, the files to answer, and batch.output, the folder for the answers." -}}
{{- end -}}
{{- end -}}
{{- end -}}
