{{/* At most 52 characters: the label of a StatefulSet's revision has eleven more, and a label has at most 63. */}}
{{- define "seaweedfs.fullname" -}}
{{- include "pipeline.fullname" (list . 52) -}}
{{- end -}}

{{/* The name of another object. Takes (list $ "suffix"). */}}
{{- define "seaweedfs.suffixed" -}}
{{- include "pipeline.suffixed" (list (include "seaweedfs.fullname" (index . 0)) (index . 1) 63) -}}
{{- end -}}

{{/* The server's address for the scripts. */}}
{{- define "seaweedfs.url" -}}
http://{{ include "seaweedfs.fullname" . }}:9000
{{- end -}}

{{/* The Service that gives each of three servers a name, by which they find each other. */}}
{{- define "seaweedfs.nodes" -}}
{{- include "seaweedfs.suffixed" (list . "nodes") -}}
{{- end -}}

{{/* The names of the three servers, as JSON. */}}
{{- define "seaweedfs.nodeNames" -}}
{{- $names := list -}}
{{- range $i := until (int .Values.replicas) -}}
{{- $names = append $names (printf "%s-%d.%s" (include "seaweedfs.fullname" $) $i (include "seaweedfs.nodes" $)) -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* The address of each single server for the scripts, separated by spaces. */}}
{{- define "seaweedfs.nodeUrls" -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- $urls := list -}}
{{- range include "seaweedfs.nodeNames" . | fromJsonArray -}}
{{- $urls = append $urls (printf "http://%s:9000" .) -}}
{{- end -}}
{{- join " " $urls -}}
{{- else -}}
{{- include "seaweedfs.url" . -}}
{{- end -}}
{{- end -}}

{{/* Ports that only the three servers themselves may use: masters, volume servers, filers, gateways, and the metadata. None
     of them requires a password. */}}
{{- define "seaweedfs.nodePorts" -}}
{{- range list 9333 19333 8080 18080 8888 18888 19000 2380 }}
- port: {{ . }}
{{- end }}
{{- end -}}

{{/* Words NAME:BUCKET:ACCESS for the scripts, one for each user. */}}
{{- define "seaweedfs.users" -}}
{{- range $i, $user := .Values.provisioning.users }}{{ if $i }} {{ end }}{{ $user.name }}:{{ $user.bucket }}:{{ $user.access }}{{ end -}}
{{- end -}}

{{/* Selects the pods that run the scripts: provisioning and the test. */}}
{{- define "seaweedfs.jobSelector" -}}
matchLabels:
  {{- include "pipeline.releaseLabels" . | nindent 2 }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [provision, test]
{{- end -}}

{{/* Fields that the containers of these pods share. Ends in the list of mounts, so that a template can append more. */}}
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
  - name: ALSO_READS
    value: {{ include "pipeline.storeAlsoReads" . | quote }}
  - name: USERS_DIR
    value: /users
  - name: ROOT_DIR
    value: /root-user
  - name: ROOT_SECRET_NAME
    value: {{ .Values.auth.existingSecret | quote }}
  - name: NODE_URLS
    value: {{ include "seaweedfs.nodeUrls" . | quote }}
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

{{/* The users' keys as files: NAME/AWS_ACCESS_KEY_ID and so on. NEXT_* and PREVIOUS_* exist during a key rotation. A
     projected source is optional only as a whole, so each of these keys is a separate source. */}}
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
      {{- $user := . }}
      {{- range list "NEXT_ACCESS_KEY_ID" "NEXT_SECRET_ACCESS_KEY" "PREVIOUS_ACCESS_KEY_ID" "PREVIOUS_SECRET_ACCESS_KEY" }}
      - secret:
          name: {{ $user.existingSecret | quote }}
          optional: true
          items:
            - {key: {{ . }}, path: {{ $user.name }}/{{ . }}}
      {{- end }}
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

{{/* Every user's policy in the format of the server's users' file: a name, and a document as text. */}}
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

{{/* Fails with one sentence if values contradict each other. */}}
{{- define "seaweedfs.validate" -}}
{{- include "pipeline.storeValidate" . -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- if not .Values.networkPolicy.enabled -}}
{{- fail "replicas: 3 needs networkPolicy.enabled: the servers call each other without a password, so no other pod may reach those ports." -}}
{{- end -}}
{{- if ne .Values.podManagementPolicy "Parallel" -}}
{{- fail "replicas: 3 needs podManagementPolicy: Parallel. The first server becomes ready only when a second one runs." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Files that the server reads at start. They are not in the ConfigMap's template, so that their checksum can restart the
     pods. */}}
{{- define "seaweedfs.config" -}}
identities.sh: |
  {{- .Files.Get "files/identities.sh" | trim | nindent 2 }}
serve.sh: |
  {{- .Files.Get "files/serve.sh" | trim | nindent 2 }}
policies.json: |
  {{- include "seaweedfs.policies" . | nindent 2 }}
{{- if gt (int .Values.replicas) 1 }}
{{- range list "filer.toml" "master.toml" }}
{{ . }}: |
  {{- $.Files.Get (printf "files/%s" .) | trim | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
