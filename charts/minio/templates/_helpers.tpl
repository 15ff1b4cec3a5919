{{/* At most 52 characters: the label of a StatefulSet's revision has eleven more, and a label has at most 63. */}}
{{- define "minio.fullname" -}}
{{- include "pipeline.fullname" (list . 52) -}}
{{- end -}}

{{/* The name of another object. Takes (list $ "suffix"). */}}
{{- define "minio.suffixed" -}}
{{- include "pipeline.suffixed" (list (include "minio.fullname" (index . 0)) (index . 1) 63) -}}
{{- end -}}

{{/* The server's address for the scripts. */}}
{{- define "minio.url" -}}
http://{{ include "minio.fullname" . }}:9000
{{- end -}}

{{/* Words NAME:BUCKET:ACCESS for the scripts, one for each user. */}}
{{- define "minio.users" -}}
{{- range $i, $user := .Values.provisioning.users }}{{ if $i }} {{ end }}{{ $user.name }}:{{ $user.bucket }}:{{ $user.access }}{{ end -}}
{{- end -}}

{{/* Selects the pods that run the scripts: provisioning and the test. */}}
{{- define "minio.jobSelector" -}}
matchLabels:
  {{- include "pipeline.releaseLabels" . | nindent 2 }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [provision, test]
{{- end -}}

{{/* Fields that the containers of these pods share. Ends in the list of mounts, so that a template can append more. */}}
{{- define "minio.jobContainer" -}}
image: {{ include "pipeline.image" (list .Values.provisioning.image "") | quote }}
imagePullPolicy: {{ .Values.provisioning.image.pullPolicy | quote }}
env:
  - name: STORE_URL
    value: {{ include "minio.url" . | quote }}
  - name: BUCKETS
    value: {{ join " " .Values.provisioning.buckets | quote }}
  - name: VERSIONED
    value: {{ join " " .Values.provisioning.versioned | quote }}
  - name: NONCURRENT_DAYS
    value: {{ .Values.provisioning.noncurrentDays | quote }}
  - name: EXPIRING
    value: {{ include "pipeline.storeExpiring" . | quote }}
  - name: USERS
    value: {{ include "minio.users" . | quote }}
  - name: ALSO_READS
    value: {{ include "pipeline.storeAlsoReads" . | quote }}
  - name: USERS_DIR
    value: /users
  - name: ROOT_DIR
    value: /root-user
  - name: ROOT_SECRET_NAME
    value: {{ .Values.auth.existingSecret | quote }}
  - name: POLICIES_DIR
    value: /policies
  - name: WAIT_SECONDS
    value: {{ .Values.provisioning.waitSeconds | quote }}
  - name: MC_CONFIG_DIR
    value: /tmp/mc
resources:
  {{- toYaml .Values.provisioning.resources | nindent 2 }}
volumeMounts:
  - name: scripts
    mountPath: /scripts
  - name: users
    mountPath: /users
  - name: tmp
    mountPath: /tmp
{{- end -}}

{{/* Volumes of these pods. The users' keys are files: /users/NAME/AWS_ACCESS_KEY_ID and so on. */}}
{{- define "minio.jobVolumes" -}}
- name: scripts
  configMap:
    name: {{ include "minio.suffixed" (list . "provision") }}
    items:
      {{- range $path, $_ := .Files.Glob "files/*.sh" }}
      - {key: {{ base $path }}, path: {{ base $path }}}
      {{- end }}
- name: users
  projected:
    defaultMode: 0440
    sources:
      {{- range .Values.provisioning.users }}
      - secret:
          name: {{ .existingSecret | quote }}
          items:
            - {key: AWS_ACCESS_KEY_ID, path: {{ .name }}/AWS_ACCESS_KEY_ID}
            - {key: AWS_SECRET_ACCESS_KEY, path: {{ .name }}/AWS_SECRET_ACCESS_KEY}
      # Additional keys during a key rotation. A projected source is optional only as a whole, so each key is a separate
      # source.
      {{- $user := . }}
      {{- range list "NEXT_ACCESS_KEY_ID" "NEXT_SECRET_ACCESS_KEY" "PREVIOUS_ACCESS_KEY_ID" }}
      - secret:
          name: {{ $user.existingSecret | quote }}
          optional: true
          items:
            - {key: {{ . }}, path: {{ $user.name }}/{{ . }}}
      {{- end }}
      {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- end -}}

{{/* Fails with one sentence if values contradict each other. */}}
{{- define "minio.validate" -}}
{{- include "pipeline.storeValidate" . -}}
{{- end -}}
