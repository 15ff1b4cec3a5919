{{/* The certificates of private CAs: one file, mounted into every container of the chart. The variables below name it for
     Python (ssl, requests, botocore), Go (mc, exporters), curl, git and OpenTelemetry. */}}
{{- define "pipeline.caFile" -}}/etc/pipeline-ca/ca.crt{{- end -}}

{{- define "pipeline.caEnv" -}}
{{- $env := list -}}
{{- if or .Values.ca.existingConfigMap .Values.ca.existingSecret -}}
{{- range list "SSL_CERT_FILE" "REQUESTS_CA_BUNDLE" "AWS_CA_BUNDLE" "CURL_CA_BUNDLE" "GIT_SSL_CAINFO" "OTEL_EXPORTER_OTLP_CERTIFICATE" -}}
{{- $env = append $env (dict "name" . "value" (include "pipeline.caFile" $)) -}}
{{- end -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{- define "pipeline.caMounts" -}}
{{- $mounts := list -}}
{{- if or .Values.ca.existingConfigMap .Values.ca.existingSecret -}}
{{- $mounts = append $mounts (dict "name" "pipeline-ca" "mountPath" (include "pipeline.caFile" . | dir) "readOnly" true) -}}
{{- end -}}
{{- toJson $mounts -}}
{{- end -}}

{{- define "pipeline.caVolumes" -}}
{{- $volumes := list -}}
{{- $ca := .Values.ca -}}
{{- if and $ca.existingConfigMap $ca.existingSecret -}}
{{- fail "ca: the certificates are either in existingConfigMap or in existingSecret. Name one of them." -}}
{{- end -}}
{{- $items := list (dict "key" $ca.key "path" (include "pipeline.caFile" . | base)) -}}
{{- with $ca.existingConfigMap -}}
{{- $volumes = append $volumes (dict "name" "pipeline-ca" "configMap" (dict "name" . "items" $items)) -}}
{{- end -}}
{{- with $ca.existingSecret -}}
{{- $volumes = append $volumes (dict "name" "pipeline-ca" "secret" (dict "secretName" . "items" $items)) -}}
{{- end -}}
{{- toJson $volumes -}}
{{- end -}}
