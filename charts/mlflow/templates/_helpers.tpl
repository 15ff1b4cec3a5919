{{/* The release's name where it says "mlflow" itself, else release-chart; at most 63 characters, as a DNS label. */}}
{{- define "mlflow.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a further object. Takes (list $ "gc"). At most 52 characters, as a CronJob's; the suffix always stays. */}}
{{- define "mlflow.suffixed" -}}
{{- $suffix := index . 1 -}}
{{- $room := sub 51 (len $suffix) | int -}}
{{- printf "%s-%s" (include "mlflow.fullname" (index . 0) | trunc $room | trimSuffix "-") $suffix -}}
{{- end -}}

{{/* What selectors match: these never change in the life of a release. Takes (list $ "component"). */}}
{{- define "mlflow.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of pods: nothing that a new chart version alone would change, for that would restart them. */}}
{{- define "mlflow.podLabels" -}}
{{ include "mlflow.selectorLabels" . }}
app.kubernetes.io/part-of: ml-pipeline
{{- end -}}

{{/* Labels of every object. Takes (list $ "component"). */}}
{{- define "mlflow.labels" -}}
{{- $root := index . 0 -}}
{{ include "mlflow.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* repository:tag@digest. The chart's appVersion is the tag where neither tag nor digest is named. */}}
{{- define "mlflow.image" -}}
{{- $image := .Values.image -}}
{{- $tag := ternary $image.tag (default .Chart.AppVersion $image.tag) (not (empty $image.digest)) -}}
{{- $image.repository -}}
{{- with $tag }}:{{ . }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "mlflow.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mlflow.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.create is false: name the existing account in serviceAccount.name" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Pod Security `restricted`, on the user that the image is made for. */}}
{{- define "mlflow.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "mlflow.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The address of the database, which holds a password and so comes from the Secret alone. Takes (list $ "VARIABLE"). */}}
{{- define "mlflow.databaseEnv" -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ (index . 0).Values.database.existingSecret }}
      key: uri
{{- end -}}

{{/* The artifact store and who asks it. */}}
{{- define "mlflow.artifactsEnv" -}}
{{- with .Values.artifacts -}}
{{- with .endpointUrl -}}
- name: MLFLOW_S3_ENDPOINT_URL
  value: {{ . | quote }}
{{ end -}}
- name: AWS_DEFAULT_REGION
  value: {{ .region | quote }}
{{- with .existingSecret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.artifacts.existingSecret }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* MLflow answers 403 to any Host that it was not told of: every name under which clients, Prometheus and people come. */}}
{{- define "mlflow.allowedHosts" -}}
{{- $name := include "mlflow.fullname" . -}}
{{- $service := printf "%s.%s" $name .Release.Namespace -}}
{{- $hosts := list "localhost" "127.0.0.1" $name $service (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service) -}}
{{- $hosts = concat $hosts .Values.ingress.hosts -}}
{{- $all := list -}}
{{- range $hosts -}}
{{- $all = concat $all (list . (printf "%s:*" .)) -}}
{{- end -}}
{{- $all = concat $all (list "$(POD_IP):5000" "[$(POD_IP)]:5000") .Values.allowedHosts -}}
{{- join "," $all -}}
{{- end -}}

{{/* A page served under an ingress host posts with that host as its origin; TLS may end before the cluster. */}}
{{- define "mlflow.corsAllowedOrigins" -}}
{{- $origins := list -}}
{{- range .Values.ingress.hosts -}}
{{- $origins = append $origins (printf "https://%s" .) -}}
{{- if not $.Values.ingress.tlsSecret -}}
{{- $origins = append $origins (printf "http://%s" .) -}}
{{- end -}}
{{- end -}}
{{- join "," (concat $origins .Values.corsAllowedOrigins) -}}
{{- end -}}

{{/* Where pods that are not servers may run, and what they pull with. */}}
{{- define "mlflow.placement" -}}
{{- $placement := dict -}}
{{- range $key := list "imagePullSecrets" "nodeSelector" "tolerations" -}}
{{- with index $.Values $key -}}
{{- $_ := set $placement $key . -}}
{{- end -}}
{{- end -}}
{{- with $placement }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* Names are looked up at the cluster's DNS, which k3s and kubeadm alike label k8s-app=kube-dns. */}}
{{- define "mlflow.dnsEgress" -}}
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

{{/* Refuses values that contradict each other, in a sentence. */}}
{{- define "mlflow.validate" -}}
{{- if and .Values.ingress.enabled (empty .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs at least one name in ingress.hosts." -}}
{{- end -}}
{{- if and .Values.auth.enabled (empty .Values.auth.existingSecret) -}}
{{- fail "auth.enabled needs a Secret in auth.existingSecret, with the keys username, password and flask-secret-key." -}}
{{- end -}}
{{- end -}}
