{{/* A StatefulSet's name leaves the label of its revision eleven characters of 63. */}}
{{- define "seaweedfs.fullname" -}}
{{- include "pipeline.fullname" (list . 52) -}}
{{- end -}}

{{/* The name of a further object. Takes (list $ "suffix"). */}}
{{- define "seaweedfs.suffixed" -}}
{{- include "pipeline.suffixed" (list (include "seaweedfs.fullname" (index . 0)) (index . 1) 63) -}}
{{- end -}}

{{/* Where the scripts reach the server. */}}
{{- define "seaweedfs.url" -}}
http://{{ include "seaweedfs.fullname" . }}:9000
{{- end -}}

{{/* Words NAME:BUCKET:ACCESS, one a user, for the scripts. */}}
{{- define "seaweedfs.users" -}}
{{- range $i, $user := .Values.provisioning.users }}{{ if $i }} {{ end }}{{ $user.name }}:{{ $user.bucket }}:{{ $user.access }}{{ end -}}
{{- end -}}

{{/* The pods that work with the server's scripts: provisioning and the test. */}}
{{- define "seaweedfs.jobSelector" -}}
matchLabels:
  {{- include "pipeline.releaseLabels" . | nindent 2 }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [provision, test]
{{- end -}}

{{/* What the containers of these pods share. Ends in the list of mounts, so that more can follow. */}}
{{- define "seaweedfs.jobContainer" -}}
image: {{ include "pipeline.image" (list .Values.provisioning.image "") | quote }}
imagePullPolicy: {{ .Values.provisioning.image.pullPolicy | quote }}
env:
  - name: STORE_URL
    value: {{ include "seaweedfs.url" . | quote }}
  - name: BUCKETS
    value: {{ join " " .Values.provisioning.buckets | quote }}
  - name: VERSIONED
    value: {{ join " " .Values.provisioning.versioned | quote }}
  - name: NONCURRENT_DAYS
    value: {{ .Values.provisioning.noncurrentDays | quote }}
  - name: EXPIRING
    value: {{ include "pipeline.storeExpiring" . | quote }}
  - name: USERS
    value: {{ include "seaweedfs.users" . | quote }}
  - name: USERS_DIR
    value: /users
  - name: ROOT_DIR
    value: /root-user
  - name: ROOT_SECRET_NAME
    value: {{ .Values.auth.existingSecret | quote }}
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

{{/* The users' keys, side by side, as NAME/AWS_ACCESS_KEY_ID and so on. */}}
{{- define "seaweedfs.usersVolume" -}}
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
      {{- end }}
{{- end -}}

{{- define "seaweedfs.rootVolume" -}}
- name: root
  secret:
    secretName: {{ .Values.auth.existingSecret | quote }}
    defaultMode: 0440
    items:
      - {key: root-user, path: AWS_ACCESS_KEY_ID}
      - {key: root-password, path: AWS_SECRET_ACCESS_KEY}
{{- end -}}

{{/* Every user's policy, as the server's file of users has them: a name, and a document as text. */}}
{{- define "seaweedfs.policies" -}}
{{- $policies := list -}}
{{- range .Values.provisioning.users -}}
{{- $policies = append $policies (dict "name" .name "content" (include "pipeline.storePolicy" . | fromJson | toJson)) -}}
{{- end -}}
{{- toJson $policies -}}
{{- end -}}

{{/* Volumes of these pods. */}}
{{- define "seaweedfs.jobVolumes" -}}
- name: scripts
  configMap:
    name: {{ include "seaweedfs.suffixed" (list . "provision") }}
    items:
      {{- range list "lib.sh" "provision.sh" "test-users.sh" }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{ include "seaweedfs.usersVolume" . }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- end -}}

{{/* Refuses values that contradict each other, in a sentence. */}}
{{- define "seaweedfs.validate" -}}
{{- include "pipeline.storeValidate" . -}}
{{- end -}}

{{/* What the server starts with. Apart from its ConfigMap, so that its checksum changes with it. */}}
{{- define "seaweedfs.config" -}}
identities.sh: |
  {{- .Files.Get "files/identities.sh" | trim | nindent 2 }}
policies.json: |
  {{- include "seaweedfs.policies" . | nindent 2 }}
{{- end -}}
