{{/* The pods that answer, for a Deployment or a Rollout. */}}
{{- define "model-serving.serverPod" -}}
{{- if include "model-serving.asksMlflow" . }}
labels:
  {{- include "pipeline.mlflowClient" . | nindent 2 }}
{{- end }}
annotations:
  checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
spec:
  serviceAccountName: {{ include "model-serving.serviceAccountName" . | quote }}
  # The drain before SIGTERM, the time to finish requests and to write the log, and a margin for the kubelet.
  terminationGracePeriodSeconds: {{ add .Values.shutdown.drainSeconds .Values.shutdown.graceSeconds (ternary .Values.predictionLog.endSeconds 0 .Values.predictionLog.enabled) 5 }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [{{ ternary "rollouts-pod-template-hash" "pod-template-hash" (eq .Values.rollout.strategy "canary") }}]
      labelSelector:
        matchLabels:
          {{- include "pipeline.selectorLabels" (list . "server") | nindent 10 }}
  containers:
    - name: serving
      image: {{ include "model-serving.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
      envFrom:
        - configMapRef:
            name: {{ include "model-serving.fullname" . }}
      env:
        {{- include "model-serving.modelEnv" . | nindent 8 }}
        {{- with include "model-serving.shadowEnv" . }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- if .Values.extraModels }}
        - name: EXTRA_MODELS
          value: {{ include "model-serving.extraModels" . | quote }}
        {{- end }}
        {{- if include "model-serving.asksMlflow" . }}
        {{- include "pipeline.registryEnv" (list . .Values.registry.existingSecret) | nindent 8 }}
        {{- end }}
        {{- with include "pipeline.storeKeysEnv" .Values.s3.existingSecret }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with include "model-serving.logKeysEnv" . }}
        {{- . | trim | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: 8080
        - name: metrics
          containerPort: 9090
        {{- if .Values.service.grpcPort }}
        - name: grpc
          containerPort: 8081
        {{- end }}
      # A pod whose model cannot be loaded yet stays out of service, but alive: it keeps retrying.
      startupProbe:
        httpGet: {path: /health/live, port: http}
        periodSeconds: 1
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /health/ready, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      livenessProbe:
        httpGet: {path: /health/live, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      lifecycle:
        # Endpoints and ingress controllers need this long to notice that the pod ends.
        preStop:
          sleep:
            seconds: {{ .Values.shutdown.drainSeconds }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - name: models
          mountPath: /var/cache/models
        - name: tmp
          mountPath: /tmp
        {{- if .Values.apiKeys.existingSecret }}
        - name: api-keys
          mountPath: /etc/api-keys
          readOnly: true
        {{- end }}
  volumes:
    - name: models
      emptyDir:
        sizeLimit: {{ .Values.modelVolume.sizeLimit | quote }}
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- with .Values.apiKeys.existingSecret }}
    - name: api-keys
      secret:
        secretName: {{ . | quote }}
        items: [{key: keys, path: keys}]
    {{- end }}
{{- end -}}
