{{/* A CronJob's name leaves its Jobs eleven characters of a DNS label's 63. */}}
{{- define "training.fullname" -}}
{{- include "pipeline.fullname" (list . 52) -}}
{{- end -}}

{{/* The run itself: the only container, or the one before the bump. */}}
{{- define "training.container" -}}
- name: training
  image: {{ include "pipeline.image" (list .Values.image .Chart.AppVersion) | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
  args:
    - run
    - --model-dir
    - {{ printf "/models/%s" (include "training.model" .) | quote }}
    {{- if .Values.due.enabled }}
    - --if-due
    {{- with .Values.due.prometheus }}
    - {{ printf "--prometheus=%s" . | quote }}
    {{- end }}
    {{- range $name, $value := .Values.due.labels }}
    - {{ printf "--alert-label=%s=%s" $name $value | quote }}
    {{- end }}
    {{- end }}
  {{- with .Values.data.existingSecret }}
  envFrom:
    - prefix: DATA_
      secretRef:
        name: {{ . | quote }}
  {{- end }}
  env:
    {{- include "pipeline.registryEnv" (list . .Values.registry.existingSecret) | nindent 4 }}
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
    {{- toYaml (default .Values.resources (include "training.file" . | fromYaml).resources) | nindent 4 }}
  volumeMounts:
    # The file alone: what else is in the model's folder is in the image.
    - name: config
      mountPath: {{ printf "/models/%s/training.yaml" (include "training.model" .) | quote }}
      subPath: training.yaml
      readOnly: true
    - name: tmp
      mountPath: /tmp
    {{- if .Values.dataVolume }}
    - name: data
      mountPath: /data
      readOnly: true
    {{- end }}
{{- end -}}

{{/* The commit of the new version's pins: platform.yaml says who serves the model. */}}
{{- define "training.bumpContainer" -}}
- name: bump
  image: {{ include "pipeline.image" (list .Values.bump.image .Chart.AppVersion) | quote }}
  imagePullPolicy: {{ .Values.bump.image.pullPolicy | quote }}
  args: [bump, --model, {{ printf "%s@candidate" (include "training.file" . | fromYaml).name | quote }}]
  env:
    - name: GITOPS_REPOSITORY
      value: {{ .Values.bump.repository | quote }}
    - name: GITOPS_BRANCH
      value: {{ .Values.bump.branch | quote }}
    - name: GIT_SSH_COMMAND
      value: >-
        ssh -i /etc/gitops/ssh-privatekey -o IdentitiesOnly=yes
        -o UserKnownHostsFile=/etc/gitops/known_hosts -o StrictHostKeyChecking=yes
    {{- include "pipeline.registryEnv" (list . .Values.bump.registrySecret) | nindent 4 }}
  resources:
    {{- toYaml .Values.bump.resources | nindent 4 }}
  volumeMounts:
    - name: deploy-key
      mountPath: /etc/gitops
    - name: tmp
      mountPath: /tmp
{{- end -}}

{{/* The model folder's name: the value, or what the release's name says after `training-`. */}}
{{- define "training.model" -}}
{{- default (trimPrefix "training-" .Release.Name) .Values.name -}}
{{- end -}}

{{/* The model's training.yaml, parsed and, as far as the chart reads it, checked; `training run` checks the rest. */}}
{{- define "training.file" -}}
{{- $way := "give the model's file by --set-file training=models/NAME/training.yaml" -}}
{{- if not (trim .Values.training) -}}
{{- fail (printf "training is empty: %s." $way) -}}
{{- end -}}
{{- $file := fromYaml .Values.training -}}
{{- if hasKey $file "Error" -}}
{{- fail (printf "training is not a training.yaml (%s): %s." $file.Error $way) -}}
{{- end -}}
{{- if not (and (kindIs "string" $file.data) $file.data (kindIs "string" $file.name) $file.name) -}}
{{- fail (printf "training has no data or no name: %s." $way) -}}
{{- end -}}
{{- with $file.schedule -}}
{{- if not (and (kindIs "map" .) (kindIs "string" .cron) (regexMatch "^(@[a-z]+|\\S+( +\\S+){4})$" (default "" .cron))) -}}
{{- fail "training: schedule.cron is not a cron line such as \"0 3 * * 1\"." -}}
{{- end -}}
{{- if not (kindIs "bool" (default false .suspend)) -}}
{{- fail "training: schedule.suspend is neither true nor false." -}}
{{- end -}}
{{- end -}}
{{- with $file.resources -}}
{{- if not (and (kindIs "map" .) (kindIs "map" .requests) (kindIs "map" .limits)) -}}
{{- fail "training: resources must hold requests and limits, as in Kubernetes." -}}
{{- end -}}
{{- end -}}
{{- toYaml $file -}}
{{- end -}}

{{/* The addresses that a run reads: the data, and where it is a prediction log, the truth and the data to start with. As JSON. */}}
{{- define "training.dataAddresses" -}}
{{- $file := include "training.file" . | fromYaml -}}
{{- $addresses := list $file.data -}}
{{- if kindIs "map" $file.outcomes -}}
{{- $addresses = append $addresses $file.outcomes.start -}}
{{- if kindIs "slice" $file.outcomes.truth -}}
{{- $addresses = concat $addresses $file.outcomes.truth -}}
{{- end -}}
{{- end -}}
{{- toJson $addresses -}}
{{- end -}}

{{/* Ways out to them; as a JSON list of egress rules. */}}
{{- define "training.dataEgress" -}}
{{- $known := dict "https" 443 "http" 80 "postgresql" 5432 "mysql" 3306 "mariadb" 3306 "mssql" 1433 "oracle" 1521 -}}
{{- $rules := default list .Values.data.egress -}}
{{- if not $rules -}}
{{- $ports := list -}}
{{- range $address := include "training.dataAddresses" . | fromJsonArray -}}
{{- if and (kindIs "string" $address) (regexMatch "^[a-z0-9+]+://" (toString $address)) -}}
{{- with get $known (regexReplaceAll "[+:].*$" $address "") -}}
{{- $told := regexFind ":[0-9]+$" (regexFind "^[^/?]+" (regexReplaceAll "^[^/]+//" $address "")) | trimPrefix ":" -}}
{{- $ports = append $ports (dict "port" (int (default . $told))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $ports -}}
{{- $rules = list (dict "ports" (uniq .)) -}}
{{- end -}}
{{- end -}}
{{- toJson $rules -}}
{{- end -}}

{{/* Ways out to Prometheus, where a run asks it first; as a JSON list of egress rules. */}}
{{- define "training.dueEgress" -}}
{{- $rules := list -}}
{{- if and .Values.due.enabled .Values.due.prometheus -}}
{{- $rules = default list .Values.due.egress -}}
{{- end -}}
{{- toJson $rules -}}
{{- end -}}

{{/* Refuses values that contradict each other, in a sentence. */}}
{{- define "training.validate" -}}
{{- $file := include "training.file" . | fromYaml -}}
{{- if and (hasPrefix "/data/" $file.data) (not .Values.dataVolume) -}}
{{- fail (printf "training: data is %s, but dataVolume names no volume to mount at /data." $file.data) -}}
{{- end -}}
{{- if gt (len .Values.dataVolume) 1 -}}
{{- fail "dataVolume is one volume: name either persistentVolumeClaim or configMap." -}}
{{- end -}}
{{- include "training.outcomesValidate" . -}}
{{- if and .Values.bump.enabled (not .Values.bump.repository) -}}
{{- fail "bump.enabled needs the SSH address of the git repository in bump.repository." -}}
{{- end -}}
{{- end -}}
