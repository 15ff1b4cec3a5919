{{/* A pod that requests a prediction from a Service and, if there is an alias, moves it. Takes (list $ SERVICE ALIAS). */}}
{{- define "model-serving.smokePod" -}}
{{- $service := index . 1 -}}
{{- $alias := index . 2 -}}
{{- with index . 0 -}}
{{- if $alias }}
labels:
  {{- include "pipeline.mlflowClient" . | nindent 2 }}
{{- end }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "model-serving.serviceAccountName" . | quote }}
  containers:
    - name: smoke
      image: {{ include "model-serving.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
      args: [smoke]
      env:
        - name: SMOKE_URL
          value: http://{{ $service }}:{{ .Values.service.port }}
        - name: SMOKE_SECONDS
          value: {{ .Values.smoke.timeoutSeconds | quote }}
        {{- with $alias }}
        - name: SMOKE_ALIAS
          value: {{ . | quote }}
        {{- end }}
        {{- with .Values.apiKeys.existingSecret }}
        - name: SMOKE_API_KEY
          valueFrom:
            secretKeyRef:
              name: {{ . | quote }}
              key: smoke
        {{- end }}
        {{- include "model-serving.modelEnv" . | nindent 8 }}
        {{- if $alias }}
        {{- include "pipeline.registryEnv" (list . .Values.smoke.registrySecret) | nindent 8 }}
        {{- end }}
      resources:
        requests:
          cpu: 10m
          memory: 96Mi
        limits:
          cpu: 500m
          memory: 256Mi
      volumeMounts:
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
{{- end -}}
{{- end -}}

{{/* The alias that the smoke test moves after a sync or on `helm test`. Empty with a canary, which has a separate step for
     it. */}}
{{- define "model-serving.smokeAlias" -}}
{{- if ne .Values.rollout.strategy "canary" -}}
{{- .Values.smoke.alias -}}
{{- end -}}
{{- end -}}
