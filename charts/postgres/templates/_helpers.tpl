{{/* At most 52 characters: the label of a StatefulSet's revision has eleven more, and a label has at most 63. */}}
{{- define "postgres.fullname" -}}
{{- include "pipeline.fullname" (list . 52) -}}
{{- end -}}

{{/* The name of another object. Takes (list $ "suffix"). */}}
{{- define "postgres.suffixed" -}}
{{- include "pipeline.suffixed" (list (include "postgres.fullname" (index . 0)) (index . 1) 63) -}}
{{- end -}}

{{/* The name of a CronJob, at most 52 characters: its Jobs add eleven. Takes (list $ "backup"). */}}
{{- define "postgres.cronJobName" -}}
{{- include "pipeline.suffixed" (list (include "postgres.fullname" (index . 0)) (index . 1) 52) -}}
{{- end -}}

{{/* The memory of the server in MiB. The schema allows only whole Mi and Gi. */}}
{{- define "postgres.memory" -}}
{{- $limit := .Values.resources.limits.memory -}}
{{- trimSuffix "Mi" $limit | trimSuffix "Gi" | int | mul (ternary 1024 1 (hasSuffix "Gi" $limit)) -}}
{{- end -}}

{{/* postgresql.conf. It is not in the ConfigMap's template, so its checksum changes only with the settings. */}}
{{- define "postgres.config" -}}
{{- $memory := include "postgres.memory" . | int -}}
{{- $buffers := div $memory 4 -}}
{{- $perSort := div (mul (sub $memory $buffers) 1024) (mul 2 .Values.maxConnections) -}}
# The locale and time zone that initdb found. Included first, so that the settings below override it.
include '/var/lib/postgresql/18/docker/postgresql.conf'
listen_addresses = '*'
unix_socket_directories = '/var/run/postgresql'

# Computed from maxConnections and the memory limit of {{ $memory }} MiB; the README has the formulas.
max_connections = {{ .Values.maxConnections }}
shared_buffers = {{ $buffers }}MB
effective_cache_size = {{ div (mul $memory 3) 4 }}MB
maintenance_work_mem = {{ min 2048 (div $memory 16) }}MB
work_mem = {{ max 1024 $perSort }}kB

# A session that keeps a transaction open delays vacuum and restores.
idle_in_transaction_session_timeout = 600000
log_min_duration_statement = 1000
log_lock_waits = on
{{- range $name, $value := .Values.settings }}
{{ $name }} = '{{ kindIs "string" $value | ternary $value (toJson $value) | replace "'" "''" }}'
{{- end }}
{{- end -}}

{{/* How libpq connects to the server. Takes (list $ "password-key"), a key of the Secret. */}}
{{- define "postgres.connectionEnv" -}}
{{- $root := index . 0 -}}
- name: PGHOST
  value: {{ include "postgres.fullname" $root }}
- name: PGDATABASE
  value: {{ $root.Values.auth.database | quote }}
- name: PGCONNECT_TIMEOUT
  value: "10"
- name: SECRET_NAME
  value: {{ $root.Values.auth.existingSecret | quote }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $root.Values.auth.existingSecret | quote }}
      key: {{ index . 1 }}
{{- end -}}

{{/* The name of the role that owns the database. */}}
{{- define "postgres.ownerEnv" -}}
- name: PGUSER
  valueFrom:
    secretKeyRef:
      name: {{ .Values.auth.existingSecret | quote }}
      key: mlflow-username
{{- end -}}

{{/* The key that signs backups. The containers that use the store do not have it. */}}
{{- define "postgres.signatureEnv" -}}
- name: BACKUP_KEY_FILE
  value: /run/secrets/backup/hmac-key
- name: BACKUP_KEY_SECRET_NAME
  value: {{ .Values.backup.signing.existingSecret | quote }}
{{- end -}}

{{- define "postgres.signatureMount" -}}
- name: signing
  mountPath: /run/secrets/backup
{{- end -}}

{{- define "postgres.signatureVolume" -}}
- name: signing
  secret:
    secretName: {{ .Values.backup.signing.existingSecret | quote }}
    defaultMode: 0440
    items:
      - {key: hmac-key, path: hmac-key}
{{- end -}}

{{/* The address of the backups in the store, and the keys for it. */}}
{{- define "postgres.storeEnv" -}}
{{- $s3 := .Values.backup.s3 -}}
- name: S3_ENDPOINT_URL
  value: {{ $s3.endpointUrl | quote }}
- name: S3_TARGET
  value: {{ printf "%s/%s" $s3.bucket (default (include "postgres.fullname" .) $s3.prefix) }}
{{- with $s3.existingSecret }}
- name: SECRET_NAME
  value: {{ . | quote }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: AWS_ACCESS_KEY_ID
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: AWS_SECRET_ACCESS_KEY
{{- else }}
- name: STS_ENDPOINT_URL
  value: {{ $s3.stsEndpointUrl | quote }}
{{- end }}
- name: BACKUP_DIR
  value: /backup
- name: MC_CONFIG_DIR
  value: /tmp/mc
{{- end -}}

{{/* Selects the pods that work for the server: backups, restores and the test. */}}
{{- define "postgres.jobSelector" -}}
matchLabels:
  {{- include "pipeline.releaseLabels" . | nindent 2 }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [backup, restore, test]
{{- end -}}

{{/* Fields that the containers of backups and restores share. Ends in the list of mounts, so that a template can append
     more. */}}
{{- define "postgres.jobContainer" -}}
resources:
  {{- toYaml .Values.backup.resources | nindent 2 }}
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
    sizeLimit: {{ .Values.backup.scratchSize | quote }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- end -}}

{{/* Fails with one sentence if values contradict each other. */}}
{{- define "postgres.validate" -}}
{{- if lt (include "postgres.memory" . | int) 256 -}}
{{- fail (printf "resources.limits.memory is %s: the server needs at least 256Mi." .Values.resources.limits.memory) -}}
{{- end -}}
{{- range $name := list "max_connections" "listen_addresses" "unix_socket_directories" "data_directory" "hba_file" -}}
{{- if hasKey $.Values.settings $name -}}
{{- fail (printf "settings.%s is set by the chart: %s." $name (ternary "use maxConnections, which also determines work_mem" "it depends on how the pod is made" (eq $name "max_connections"))) -}}
{{- end -}}
{{- end -}}
{{- with .Values.backup.s3 -}}
{{- if not (or .existingSecret .stsEndpointUrl) -}}
{{- fail "backup.s3 has no keys: name a Secret in existingSecret, or the cloud's token service in stsEndpointUrl." -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.exporter.enabled) -}}
{{- fail "serviceMonitor.enabled has nothing to scrape: set exporter.enabled too." -}}
{{- end -}}
{{- end -}}
