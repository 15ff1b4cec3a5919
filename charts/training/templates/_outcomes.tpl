{{/* The name of a service's CronJob. A name that must be shortened ends in a hash of the whole name; otherwise the jobs of
     two environments could get the same name. Takes (list $ SERVICE). */}}
{{- define "training.outcomesName" -}}
{{- $service := index . 1 -}}
{{- $whole := printf "%s-%s-%s" (include "training.fullname" (index . 0)) $service.service $service.environment -}}
{{- $suffix := "outcomes" -}}
{{- if gt (len $whole) 43 -}}
{{- $suffix = printf "%s-outcomes" (sha256sum $whole | trunc 8) -}}
{{- end -}}
{{- include "pipeline.suffixed" (list $whole $suffix 52) -}}
{{- end -}}

{{/* Fails with one sentence if two entries have the same name. */}}
{{- define "training.outcomesValidate" -}}
{{- $names := dict -}}
{{- range .Values.outcomes.services -}}
{{- $name := include "training.outcomesName" (list $ .) -}}
{{- $entry := printf "%s in %s" .service .environment -}}
{{- if hasKey $names $name -}}
{{- fail (printf "outcomes.services: %s and %s would have the same CronJob, %s. Remove one of them." (get $names $name) $entry $name) -}}
{{- end -}}
{{- $_ := set $names $name $entry -}}
{{- end -}}
{{- end -}}

{{/* A pod that joins a service's prediction log with the truth. Takes (list $ SERVICE). */}}
{{- define "training.outcomesPod" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- $outcomes := $root.Values.outcomes -}}
labels:
  {{- include "pipeline.mlflowClient" $root | nindent 2 }}
spec:
  {{- with include "pipeline.serviceAccountName" (list $root (include "training.fullname" $root)) }}
  serviceAccountName: {{ . | quote }}
  {{- end }}
  restartPolicy: Never
  containers:
    - name: outcomes
      image: {{ include "pipeline.image" (list $root.Values.image $root.Chart.AppVersion) | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy | quote }}
      args:
        - outcomes
        - {{ $service.service | quote }}
        - --environment={{ $service.environment }}
        - --log={{ $outcomes.log }}
        - --days={{ int $outcomes.days }}
        {{- range $service.truth }}
        - {{ printf "--truth=%s" . | quote }}
        {{- end }}
        {{- range $option := list "query" "id" "row" "target" }}
        {{- with get $service $option }}
        - {{ printf "--%s=%s" $option . | quote }}
        {{- end }}
        {{- end }}
        {{- range $service.slices }}
        - {{ printf "--slice=%s" . | quote }}
        {{- end }}
        {{- with $outcomes.pushgateway }}
        - --push={{ . }}
        - --namespace={{ default (printf "ml-pipeline-%s" $service.environment) $service.namespace }}
        {{- end }}
      {{- with $outcomes.existingSecret }}
      envFrom:
        - prefix: DATA_
          secretRef:
            name: {{ . | quote }}
      {{- end }}
      env:
        {{- include "pipeline.registryEnv" (list $root $root.Values.registry.existingSecret) | nindent 8 }}
        {{- with $root.Values.s3.endpointUrl }}
        - name: MLFLOW_S3_ENDPOINT_URL
          value: {{ . | quote }}
        {{- end }}
        - name: AWS_DEFAULT_REGION
          value: {{ $root.Values.s3.region | quote }}
        {{- with include "pipeline.storeKeysEnv" $root.Values.s3.existingSecret }}
        {{- . | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml $outcomes.resources | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 2Gi
{{- end -}}

{{/* Egress rules for the Pushgateway, as a JSON list. */}}
{{- define "training.pushEgress" -}}
{{- $rules := list -}}
{{- with .Values.outcomes -}}
{{- if .services -}}
{{- $rules = .egress -}}
{{- with .pushgateway -}}
{{- $address := urlParse . -}}
{{- $host := regexReplaceAll ":[0-9]+$" $address.host "" -}}
{{- $port := regexFind ":[0-9]+$" $address.host | trimPrefix ":" | default (ternary "443" "80" (eq $address.scheme "https")) | int -}}
{{- $rule := dict "ports" (list (dict "port" $port)) -}}
{{- if regexMatch "^[a-z0-9-]+\\.[a-z0-9-]+(\\.svc.*)?$" $host -}}
{{- $_ := set $rule "to" (list (dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" (index (splitList "." $host) 1))))) -}}
{{- end -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $rules -}}
{{- end -}}
