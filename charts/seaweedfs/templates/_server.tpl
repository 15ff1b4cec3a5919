{{/* The server's arguments. With one server, master, volume server and filer listen only inside the pod, because they
     require no password. Three servers reach each other by name, and the network policy keeps all other pods from those
     ports. */}}
{{- define "seaweedfs.arguments" -}}
{{- $three := gt (int .Values.replicas) 1 -}}
- server
- -dir=/data
- -ip={{ ternary "$(NODE)" "127.0.0.1" $three }}
- -ip.bind={{ ternary "0.0.0.0" "127.0.0.1" $three }}
- -s3
- -s3.ip.bind=0.0.0.0
- -s3.port=9000
- -s3.config=/identities/s3.json
- -s3.iam=false
- -s3.autoCreateBucket=false
- -s3.port.iceberg=0
- -s3.port.lance=0
- -metricsIp=0.0.0.0
- -metricsPort=9327
{{- if $three }}
{{- $masters := list }}
{{- range include "seaweedfs.nodeNames" . | fromJsonArray }}
{{- $masters = append $masters (printf "%s:9333" .) }}
{{- end }}
- -master.peers={{ join "," $masters }}
# A second copy on another server.
- -master.defaultReplication=001
{{- end }}
- -master.telemetry=false
- -master.volumeSizeLimitMB={{ .Values.storage.volumeSizeMB }}
- -volume.max=0
- -volume.preStopSeconds=0
{{- end -}}

{{/* Where the scripts that write the users' file find its content. */}}
{{- define "seaweedfs.usersEnv" -}}
- name: CONFIG
  value: /identities/s3.json
- name: POLICIES
  value: /config/policies.json
- name: ROOT_DIR
  value: /root-user
- name: USERS_DIR
  value: /users
- name: USERS
  value: {{ include "seaweedfs.users" . | quote }}
{{- end -}}

{{/* Which of three servers this is. */}}
{{- define "seaweedfs.nodeEnv" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: NODE
  value: $(POD_NAME).{{ include "seaweedfs.nodes" . }}
{{- end -}}

{{/* A member of the etcd cluster that holds the names of objects. Each of three servers has one as a sidecar and uses only
     that one. The server starts when etcd has a leader. */}}
{{- define "seaweedfs.metadata" -}}
{{- $members := list -}}
{{- range $i, $name := include "seaweedfs.nodeNames" . | fromJsonArray -}}
{{- $members = append $members (printf "%s-%d=http://%s:2380" (include "seaweedfs.fullname" $) $i $name) -}}
{{- end -}}
- name: metadata
  restartPolicy: Always
  image: {{ include "pipeline.image" (list .Values.nodes.metadata.image "") | quote }}
  imagePullPolicy: {{ .Values.nodes.metadata.image.pullPolicy | quote }}
  command: [etcd]
  args:
    - --name=$(POD_NAME)
    - --data-dir=/data/etcd
    - --initial-cluster={{ join "," $members }}
    - --initial-cluster-token={{ include "seaweedfs.fullname" . }}
    - --initial-cluster-state={{ ternary "existing" "new" .Values.nodes.metadata.joining }}
    - --initial-advertise-peer-urls=http://$(NODE):2380
    - --listen-peer-urls=http://0.0.0.0:2380
    - --listen-client-urls=http://127.0.0.1:2379
    - --advertise-client-urls=http://127.0.0.1:2379
    - --listen-metrics-urls=http://0.0.0.0:2381
    - --quota-backend-bytes={{ mul .Values.nodes.metadata.maxMB 1048576 }}
    # Every change is a new revision, and nothing reads old ones.
    - --auto-compaction-mode=periodic
    - --auto-compaction-retention=1h
  env:
    {{- include "seaweedfs.nodeEnv" . | nindent 4 }}
  ports:
    - name: peers
      containerPort: 2380
    - name: state
      containerPort: 2381
  startupProbe:
    httpGet: {path: /health, port: state}
    periodSeconds: 2
    timeoutSeconds: 5
    failureThreshold: 150
  # Without a majority, etcd can answer no request. A restart would not help, so there is no liveness probe.
  readinessProbe:
    httpGet: {path: /health, port: state}
    periodSeconds: 5
    timeoutSeconds: 5
    failureThreshold: 3
  resources:
    {{- toYaml .Values.nodes.metadata.resources | nindent 4 }}
  volumeMounts:
    - name: data
      mountPath: /data
{{- end -}}
