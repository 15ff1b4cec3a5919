{{/* The chart's name where the release's name does not hold it already; at most 63 characters, as a DNS label. */}}
{{- define "minio.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a further object. Takes (list $ "provision"). Cut so that the suffix always stays and names never meet. */}}
{{- define "minio.suffixed" -}}
{{- $suffix := index . 1 -}}
{{- $room := sub 62 (len $suffix) | int -}}
{{- printf "%s-%s" (include "minio.fullname" (index . 0) | trunc $room | trimSuffix "-") $suffix -}}
{{- end -}}

{{/* What selectors match: these never change in the life of a release. Takes (list $ "component"). */}}
{{- define "minio.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of pods: nothing that a new chart version alone would change, for that would restart them. */}}
{{- define "minio.podLabels" -}}
{{ include "minio.selectorLabels" . }}
app.kubernetes.io/part-of: ml-pipeline
{{- end -}}

{{/* Labels of every object. Takes (list $ "component"). */}}
{{- define "minio.labels" -}}
{{- $root := index . 0 -}}
{{ include "minio.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* repository:tag@digest of an image's values. */}}
{{- define "minio.image" -}}
{{- if not (or .tag .digest) -}}
{{- fail (printf "The image %s needs a tag or a digest." .repository) -}}
{{- end -}}
{{- .repository -}}
{{- with .tag }}:{{ . }}{{ end -}}
{{- with .digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* Pod Security `restricted`, on the user that the image is made for. */}}
{{- define "minio.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "minio.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where every pod of the chart runs, and how its images are pulled. */}}
{{- define "minio.placement" -}}
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
{{- define "minio.dnsEgress" -}}
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

{{/* Where the scripts reach the server. */}}
{{- define "minio.url" -}}
http://{{ include "minio.fullname" . }}:9000
{{- end -}}

{{/* Words NAME:BUCKET:ACCESS, one a user, for the scripts. */}}
{{- define "minio.users" -}}
{{- range $i, $user := .Values.provisioning.users }}{{ if $i }} {{ end }}{{ $user.name }}:{{ $user.bucket }}:{{ $user.access }}{{ end -}}
{{- end -}}

{{/* The pods that work with the server's scripts: provisioning and the test. */}}
{{- define "minio.jobSelector" -}}
matchLabels:
  app.kubernetes.io/name: {{ .Chart.Name }}
  app.kubernetes.io/instance: {{ .Release.Name }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [provision, test]
{{- end -}}

{{/* What the containers of these pods share. Ends in the list of mounts, so that more can follow. */}}
{{- define "minio.jobContainer" -}}
image: {{ include "minio.image" .Values.provisioning.image }}
imagePullPolicy: {{ .Values.provisioning.image.pullPolicy }}
env:
  - name: MINIO_URL
    value: {{ include "minio.url" . }}
  - name: BUCKETS
    value: {{ join " " .Values.provisioning.buckets | quote }}
  - name: USERS
    value: {{ include "minio.users" . | quote }}
  - name: USERS_DIR
    value: /users
  - name: ROOT_DIR
    value: /root-user
  - name: ROOT_SECRET_NAME
    value: {{ .Values.auth.existingSecret }}
  - name: POLICIES_DIR
    value: /policies
  - name: WAIT_SECONDS
    value: {{ .Values.provisioning.waitSeconds | quote }}
  - name: MC_CONFIG_DIR
    value: /tmp/mc
resources:
  {{- toYaml .Values.provisioning.resources | nindent 2 }}
securityContext:
  {{- include "minio.containerSecurityContext" . | nindent 2 }}
volumeMounts:
  - name: scripts
    mountPath: /scripts
  - name: users
    mountPath: /users
  - name: tmp
    mountPath: /tmp
{{- end -}}

{{/* Volumes of these pods. The users' keys lie side by side, as /users/NAME/AWS_ACCESS_KEY_ID and so on. */}}
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
          name: {{ .existingSecret }}
          items:
            - {key: AWS_ACCESS_KEY_ID, path: {{ .name }}/AWS_ACCESS_KEY_ID}
            - {key: AWS_SECRET_ACCESS_KEY, path: {{ .name }}/AWS_SECRET_ACCESS_KEY}
      {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- end -}}

{{/* A user's policy: what it may do with its bucket and the objects in it. */}}
{{- define "minio.policy" -}}
{{- $bucket := list "s3:GetBucketLocation" "s3:ListBucket" -}}
{{- $objects := list "s3:GetObject" -}}
{{- if eq .access "readWrite" -}}
{{- $bucket = append $bucket "s3:ListBucketMultipartUploads" -}}
{{- $objects = concat $objects (list "s3:PutObject" "s3:DeleteObject" "s3:AbortMultipartUpload" "s3:ListMultipartUploadParts") -}}
{{- end -}}
{{- $arn := printf "arn:aws:s3:::%s" .bucket -}}
{{- $onBucket := dict "Effect" "Allow" "Action" $bucket "Resource" (list $arn) -}}
{{- $onObjects := dict "Effect" "Allow" "Action" $objects "Resource" (list (printf "%s/*" $arn)) -}}
{{- dict "Version" "2012-10-17" "Statement" (list $onBucket $onObjects) | toPrettyJson -}}
{{- end -}}

{{/* Refuses values that contradict each other, in a sentence. */}}
{{- define "minio.validate" -}}
{{- $names := list -}}
{{- range .Values.provisioning.users -}}
{{- if has .name $names -}}
{{- fail (printf "provisioning.users names %s twice: each name is one policy." .name) -}}
{{- end -}}
{{- if not (has .bucket $.Values.provisioning.buckets) -}}
{{- fail (printf "provisioning.users: %s works in bucket %s, which provisioning.buckets does not list." .name .bucket) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
