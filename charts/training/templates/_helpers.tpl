{{/* At most 52 characters: a CronJob's Jobs add eleven, and a DNS label has at most 63. */}}
{{- define "training.fullname" -}}
{{- include "pipeline.fullname" (list . 52) -}}
{{- end -}}

{{/* The container that trains. It is the only one, or runs before the bump. */}}
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
    # Only this file; the rest of the model's folder is in the image.
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

{{/* The container that commits the pins of the new version, for the services of the model in platform.yaml. */}}
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

{{/* The name of the model's folder: the value, or the part of the release's name after `training-`. */}}
{{- define "training.model" -}}
{{- default (trimPrefix "training-" .Release.Name) .Values.name -}}
{{- end -}}

{{/* The model's training.yaml, parsed. The fields that the chart reads are checked here; `training run` checks the
     others. */}}
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

{{/* The addresses that a run reads, as JSON: the data and, if that is a prediction log, the truth and the initial data. */}}
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

{{/* Egress rules for these addresses, as a JSON list. */}}
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

{{/* Egress rules for Prometheus, if a run checks its alerts first, as a JSON list. */}}
{{- define "training.dueEgress" -}}
{{- $rules := list -}}
{{- if and .Values.due.enabled .Values.due.prometheus -}}
{{- $rules = default list .Values.due.egress -}}
{{- end -}}
{{- toJson $rules -}}
{{- end -}}

{{/* Fails with one sentence if values contradict each other. */}}
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
