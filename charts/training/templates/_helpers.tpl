{{/* A CronJob's name leaves its Jobs eleven characters of a DNS label's 63. */}}
{{- define "training.fullname" -}}
{{- include "pipeline.fullname" (list . 52) -}}
{{- end -}}

{{/* The run itself: the only container, or the one before the bump. */}}
{{- define "training.container" -}}
- name: training
  image: {{ include "pipeline.image" (list .Values.image .Chart.AppVersion) | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
  args: [run, --config, /etc/training/config.yaml]
  env:
    {{- include "pipeline.registryEnv" . | nindent 4 }}
    {{- with .Values.s3.endpointUrl }}
    - name: MLFLOW_S3_ENDPOINT_URL
      value: {{ . | quote }}
    {{- end }}
    - name: AWS_DEFAULT_REGION
      value: {{ .Values.s3.region | quote }}
    {{- with include "pipeline.storeKeysEnv" .Values.s3.existingSecret }}
    {{- . | nindent 4 }}
    {{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    - name: config
      mountPath: /etc/training
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
  image: {{ include "pipeline.image" (list .Values.bump.image .Chart.AppVersion) | quote }}
  imagePullPolicy: {{ .Values.bump.image.pullPolicy | quote }}
  args: [bump, {{ .Values.bump.environment | quote }}, --model, "@candidate"]
  env:
    - name: GITOPS_REPOSITORY
      value: {{ .Values.bump.repository | quote }}
    - name: GITOPS_BRANCH
      value: {{ .Values.bump.branch | quote }}
    - name: GIT_SSH_COMMAND
      value: >-
        ssh -i /etc/gitops/ssh-privatekey -o IdentitiesOnly=yes
        -o UserKnownHostsFile=/etc/gitops/known_hosts -o StrictHostKeyChecking=yes
    {{- include "pipeline.registryEnv" . | nindent 4 }}
  resources:
    {{- toYaml .Values.bump.resources | nindent 4 }}
  volumeMounts:
    - name: deploy-key
      mountPath: /etc/gitops
    - name: tmp
      mountPath: /tmp
{{- end -}}

{{/* Refuses values that contradict each other, in a sentence. */}}
{{- define "training.validate" -}}
{{- if and (hasPrefix "/data/" .Values.config.data) (not .Values.dataVolume) -}}
{{- fail (printf "config.data is %s, and dataVolume names no volume to mount at /data." .Values.config.data) -}}
{{- end -}}
{{- if gt (len .Values.dataVolume) 1 -}}
{{- fail "dataVolume is one volume: name persistentVolumeClaim or configMap, not both." -}}
{{- end -}}
{{- if and .Values.bump.enabled (not .Values.bump.repository) -}}
{{- fail "bump.enabled needs the SSH address of the git repository in bump.repository." -}}
{{- end -}}
{{- end -}}
