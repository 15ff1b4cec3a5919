{{/* Settings of the server as variables, written by tools/chart_values from services/serving/src/serving/settings.py. */}}
{{- define "model-serving.settings" -}}
{{- with .Values.settings.pathPrefix }}
PATH_PREFIX: {{ . | quote }}
{{- end }}
{{- with .Values.settings.corsOrigins }}
CORS_ORIGINS: {{ join "," . | quote }}
{{- end }}
GZIP_ANSWER_BYTES: {{ int64 .Values.settings.gzipAnswerBytes | quote }}
LOG_LEVEL: {{ .Values.settings.logLevel | quote }}
LOG_FORMAT: {{ .Values.settings.logFormat | quote }}
ACCESS_LOG: {{ .Values.settings.accessLog | quote }}
MODEL_CACHE_SIZE: {{ int64 .Values.settings.modelCacheSize | quote }}
MODEL_CACHE_BYTES: {{ int64 .Values.settings.modelCacheBytes | quote }}
MODEL_POLL_SECONDS: {{ .Values.settings.modelPollSeconds | quote }}
MAX_MODEL_BYTES: {{ int64 .Values.settings.maxModelBytes | quote }}
DOWNLOAD_SECONDS: {{ .Values.settings.downloadSeconds | quote }}
TRIAL_SECONDS: {{ .Values.settings.trialSeconds | quote }}
TRIAL_CPU_SECONDS: {{ int64 .Values.settings.trialCpuSeconds | quote }}
TRIAL_MEMORY_BYTES: {{ int64 .Values.settings.trialMemoryBytes | quote }}
MAX_BODY_BYTES: {{ int64 .Values.settings.maxBodyBytes | quote }}
MAX_ROWS: {{ int64 .Values.settings.maxRows | quote }}
EXPLAIN: {{ .Values.settings.explain | quote }}
EXPLAIN_ROWS: {{ int64 .Values.settings.explainRows | quote }}
EXPLAIN_EVALUATIONS: {{ int64 .Values.settings.explainEvaluations | quote }}
EXPLAIN_SECONDS: {{ .Values.settings.explainSeconds | quote }}
EXPLAIN_WAITING: {{ int64 .Values.settings.explainWaiting | quote }}
KEEP_ALIVE_SECONDS: {{ int64 .Values.settings.keepAliveSeconds | quote }}
MAX_CONNECTIONS: {{ int64 .Values.settings.maxConnections | quote }}
MAX_WAITING_REQUESTS: {{ int64 .Values.settings.maxWaitingRequests | quote }}
MAX_WAITING_SECONDS: {{ .Values.settings.maxWaitingSeconds | quote }}
MAX_QUEUE_SECONDS: {{ .Values.settings.maxQueueSeconds | quote }}
REGISTRY_FOLDERS: {{ .Values.settings.registryFolders | quote }}
REGISTRY_TIMEOUT_SECONDS: {{ .Values.settings.registryTimeoutSeconds | quote }}
RETRY_MIN_SECONDS: {{ .Values.settings.retryMinSeconds | quote }}
RETRY_MAX_SECONDS: {{ .Values.settings.retryMaxSeconds | quote }}
DRIFT_WINDOW_SECONDS: {{ .Values.settings.driftWindowSeconds | quote }}
RUNTIME: {{ .Values.settings.runtime | quote }}
PICKLE_MODELS: {{ .Values.settings.pickleModels | quote }}
{{- with .Values.settings.skopsTrustedTypes }}
SKOPS_TRUSTED_TYPES: {{ join "," . | quote }}
{{- end }}
{{- end -}}
