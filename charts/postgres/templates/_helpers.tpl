{{/* The chart's name where the release's name does not hold it already; at most 63 characters, as a DNS label. */}}
{{- define "postgres.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a further object. Takes (list $ "backup"). Cut so that the suffix always stays and names never meet. */}}
{{- define "postgres.suffixed" -}}
{{- $suffix := index . 1 -}}
{{- $room := sub 62 (len $suffix) | int -}}
{{- printf "%s-%s" (include "postgres.fullname" (index . 0) | trunc $room | trimSuffix "-") $suffix -}}
{{- end -}}

{{/* The name of a CronJob, which leaves its Jobs eleven characters. Takes (list $ "backup"). */}}
{{- define "postgres.cronJobName" -}}
{{- $suffix := index . 1 -}}
{{- $room := sub 51 (len $suffix) | int -}}
{{- printf "%s-%s" (include "postgres.fullname" (index . 0) | trunc $room | trimSuffix "-") $suffix -}}
{{- end -}}

{{/* What selectors match: these never change in the life of a release. Takes (list $ "component"). */}}
{{- define "postgres.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of pods: nothing that a new chart version alone would change, for that would restart them. */}}
{{- define "postgres.podLabels" -}}
{{ include "postgres.selectorLabels" . }}
app.kubernetes.io/part-of: ml-pipeline
{{- end -}}

{{/* Labels of every object. Takes (list $ "component"). */}}
{{- define "postgres.labels" -}}
{{- $root := index . 0 -}}
{{ include "postgres.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* repository:tag@digest of an image's values. */}}
{{- define "postgres.image" -}}
{{- if not (or .tag .digest) -}}
{{- fail (printf "The image %s needs a tag or a digest." .repository) -}}
{{- end -}}
{{- .repository -}}
{{- with .tag }}:{{ . }}{{ end -}}
{{- with .digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* Pod Security `restricted`, on the user that the image is made for. */}}
{{- define "postgres.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 999
runAsGroup: 999
fsGroup: 999
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "postgres.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where every pod of the chart runs, and how its images are pulled. */}}
{{- define "postgres.placement" -}}
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

{{/* The memory of the server in MiB; the schema allows whole Mi and Gi only. */}}
{{- define "postgres.memory" -}}
{{- $limit := .Values.resources.limits.memory -}}
{{- trimSuffix "Mi" $limit | trimSuffix "Gi" | int | mul (ternary 1024 1 (hasSuffix "Gi" $limit)) -}}
{{- end -}}

{{/* postgresql.conf. Apart from its ConfigMap, so that its checksum changes with the settings only. */}}
{{- define "postgres.config" -}}
{{- $memory := include "postgres.memory" . | int -}}
{{- $buffers := div $memory 4 -}}
{{- $perSort := div (mul (sub $memory $buffers) 1024) (mul 2 .Values.maxConnections) -}}
# What initdb found out about locale and time zone comes first, so that the rest wins.
include '/var/lib/postgresql/18/docker/postgresql.conf'
listen_addresses = '*'
unix_socket_directories = '/var/run/postgresql'

# From maxConnections and the memory limit of {{ $memory }} MiB; the README has the formulas.
max_connections = {{ .Values.maxConnections }}
shared_buffers = {{ $buffers }}MB
effective_cache_size = {{ div (mul $memory 3) 4 }}MB
maintenance_work_mem = {{ min 2048 (div $memory 16) }}MB
work_mem = {{ max 1024 $perSort }}kB

# A session that holds its transaction open holds back vacuum and restores.
idle_in_transaction_session_timeout = 600000
log_min_duration_statement = 1000
log_lock_waits = on
{{- range $name, $value := .Values.settings }}
{{ $name }} = '{{ kindIs "string" $value | ternary $value (toJson $value) | replace "'" "''" }}'
{{- end }}
{{- end -}}

{{/* How libpq reaches the server. Takes (list $ "password-key"), a key of the Secret. */}}
{{- define "postgres.connectionEnv" -}}
{{- $root := index . 0 -}}
- name: PGHOST
  value: {{ include "postgres.fullname" $root }}
- name: PGDATABASE
  value: {{ $root.Values.auth.database }}
- name: PGCONNECT_TIMEOUT
  value: "10"
- name: SECRET_NAME
  value: {{ $root.Values.auth.existingSecret }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $root.Values.auth.existingSecret }}
      key: {{ index . 1 }}
{{- end -}}

{{/* The name of the role that owns the database. */}}
{{- define "postgres.ownerEnv" -}}
- name: PGUSER
  valueFrom:
    secretKeyRef:
      name: {{ .Values.auth.existingSecret }}
      key: mlflow-username
{{- end -}}

{{/* DNS, for a NetworkPolicy. */}}
{{- define "postgres.dnsEgress" -}}
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

{{/* Where backups stand, and the keys to get there. */}}
{{- define "postgres.storeEnv" -}}
{{- $s3 := .Values.backup.s3 -}}
- name: S3_ENDPOINT_URL
  value: {{ $s3.endpointUrl }}
- name: S3_TARGET
  value: {{ printf "%s/%s" $s3.bucket (default (include "postgres.fullname" .) $s3.prefix) }}
- name: SECRET_NAME
  value: {{ $s3.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $s3.existingSecret }}
      key: AWS_ACCESS_KEY_ID
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $s3.existingSecret }}
      key: AWS_SECRET_ACCESS_KEY
- name: BACKUP_DIR
  value: /backup
- name: MC_CONFIG_DIR
  value: /tmp/mc
{{- end -}}

{{/* The pods that work for the server: backups, restores and the test. */}}
{{- define "postgres.jobSelector" -}}
matchLabels:
  app.kubernetes.io/name: {{ .Chart.Name }}
  app.kubernetes.io/instance: {{ .Release.Name }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [backup, restore, test]
{{- end -}}

{{/* What the containers of backups and restores share. Ends in the list of mounts, so that more can follow. */}}
{{- define "postgres.jobContainer" -}}
resources:
  {{- toYaml .Values.backup.resources | nindent 2 }}
securityContext:
  {{- include "postgres.containerSecurityContext" . | nindent 2 }}
volumeMounts:
  - name: scripts
    mountPath: /scripts
  - name: backup
    mountPath: /backup
  - name: tmp
    mountPath: /tmp
{{- end -}}

{{- define "postgres.jobVolumes" -}}
- name: scripts
  configMap:
    name: {{ include "postgres.suffixed" (list . "scripts") }}
- name: backup
  emptyDir:
    sizeLimit: {{ .Values.backup.scratchSize }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- end -}}

{{/* Refuses values that contradict each other, in a sentence. */}}
{{- define "postgres.validate" -}}
{{- if lt (include "postgres.memory" . | int) 256 -}}
{{- fail (printf "resources.limits.memory is %s: the server needs at least 256Mi." .Values.resources.limits.memory) -}}
{{- end -}}
{{- range $name := list "max_connections" "listen_addresses" "unix_socket_directories" "data_directory" "hba_file" -}}
{{- if hasKey $.Values.settings $name -}}
{{- fail (printf "settings.%s is the chart's own: %s." $name (ternary "set maxConnections, which work_mem is computed from" "it depends on how the pod is made" (eq $name "max_connections"))) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.exporter.enabled) -}}
{{- fail "serviceMonitor.enabled has nothing to scrape: set exporter.enabled too." -}}
{{- end -}}
{{- end -}}
