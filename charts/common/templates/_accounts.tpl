{{/* The ServiceAccount of the pods. Takes (list $ NAME "component"). */}}
{{- define "pipeline.serviceAccount" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "pipeline.serviceAccountName" . | quote }}
  labels:
    {{- include "pipeline.labels" (list $root (index . 2)) | nindent 4 }}
  {{- with $root.Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{/* The address of the MLflow server and the credentials for it. Takes (list $ SECRET): the Secret with the user's name and
     password, or "" for a server without passwords. */}}
{{- define "pipeline.registryEnv" -}}
- name: MLFLOW_TRACKING_URI
  value: {{ (index . 0).Values.registry.uri | quote }}
{{- with index . 1 }}
- name: MLFLOW_TRACKING_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: username
- name: MLFLOW_TRACKING_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: password
{{- end }}
{{- end -}}

{{/* The keys of a store. Takes the Secret's name. With an empty name it returns nothing, and pods use a cloud identity. */}}
{{- define "pipeline.storeKeysEnv" -}}
{{- with . -}}
# Named in the error message if the store refuses the keys.
- name: S3_SECRET_NAME
  value: {{ . | quote }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $ | quote }}
      key: {{ . }}
{{- end }}
{{- end -}}
{{- end -}}
