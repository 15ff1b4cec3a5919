{{/* The policy of a user of an S3 store: what it may do with its bucket and the objects in it. Takes {bucket, access,
     alsoReads}. */}}
{{- define "pipeline.storePolicy" -}}
{{- $bucket := list "s3:GetBucketLocation" -}}
{{- $objects := list "s3:PutObject" -}}
{{- if ne .access "writeOnly" -}}
{{- $bucket = append $bucket "s3:ListBucket" -}}
{{- $objects = list "s3:GetObject" -}}
{{- end -}}
{{- if eq .access "readWrite" -}}
{{- $bucket = append $bucket "s3:ListBucketMultipartUploads" -}}
{{- $objects = concat $objects (list "s3:PutObject" "s3:DeleteObject" "s3:AbortMultipartUpload" "s3:ListMultipartUploadParts") -}}
{{- end -}}
{{- $arn := printf "arn:aws:s3:::%s" .bucket -}}
{{- $onBucket := dict "Effect" "Allow" "Action" $bucket "Resource" (list $arn) -}}
{{- $onObjects := dict "Effect" "Allow" "Action" $objects "Resource" (list (printf "%s/*" $arn)) -}}
{{- /* In MinIO, the right to delete objects includes the right to delete versions, unless that is denied. */ -}}
{{- $onVersions := dict "Effect" "Deny" "Action" (list "s3:DeleteObjectVersion") "Resource" (list (printf "%s/*" $arn)) -}}
{{- $statements := list $onBucket $onObjects -}}
{{- if eq .access "readWrite" -}}
{{- $statements = append $statements $onVersions -}}
{{- end -}}
{{- range .alsoReads -}}
{{- $other := printf "arn:aws:s3:::%s" . -}}
{{- $statements = append $statements (dict "Effect" "Allow" "Action" (list "s3:GetBucketLocation" "s3:ListBucket") "Resource" (list $other)) -}}
{{- $statements = append $statements (dict "Effect" "Allow" "Action" (list "s3:GetObject") "Resource" (list (printf "%s/*" $other))) -}}
{{- end -}}
{{- dict "Version" "2012-10-17" "Statement" $statements | toPrettyJson -}}
{{- end -}}

{{/* Words BUCKET:DAYS for the scripts, one for each bucket whose objects expire. */}}
{{- define "pipeline.storeExpiring" -}}
{{- range $i, $rule := .Values.provisioning.expiring }}{{ if $i }} {{ end }}{{ $rule.bucket }}:{{ int $rule.days }}{{ end -}}
{{- end -}}

{{/* Words NAME:BUCKET for the scripts, one for each additional bucket that a user may read. */}}
{{- define "pipeline.storeAlsoReads" -}}
{{- $words := list -}}
{{- range $user := .Values.provisioning.users -}}
{{- range $user.alsoReads -}}
{{- $words = append $words (printf "%s:%s" $user.name .) -}}
{{- end -}}
{{- end -}}
{{- join " " $words -}}
{{- end -}}

{{/* Fails with one sentence if buckets and users contradict each other. */}}
{{- define "pipeline.storeValidate" -}}
{{- $names := list -}}
{{- range .Values.provisioning.users -}}
{{- if has .name $names -}}
{{- fail (printf "provisioning.users names %s twice, but each name has one policy." .name) -}}
{{- end -}}
{{- if not (has .bucket $.Values.provisioning.buckets) -}}
{{- fail (printf "provisioning.users: %s works in bucket %s, which provisioning.buckets does not list." .name .bucket) -}}
{{- end -}}
{{- $user := . -}}
{{- range .alsoReads -}}
{{- if not (has . $.Values.provisioning.buckets) -}}
{{- fail (printf "provisioning.users: %s also reads bucket %s, which provisioning.buckets does not list." $user.name .) -}}
{{- end -}}
{{- if eq . $user.bucket -}}
{{- fail (printf "provisioning.users: %s also reads bucket %s, which is its own: access says what it may do there." $user.name .) -}}
{{- end -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- range .Values.provisioning.versioned -}}
{{- if not (has . $.Values.provisioning.buckets) -}}
{{- fail (printf "provisioning.versioned names bucket %s, which provisioning.buckets does not list." .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.provisioning.expiring -}}
{{- if not (has .bucket $.Values.provisioning.buckets) -}}
{{- fail (printf "provisioning.expiring names bucket %s, which provisioning.buckets does not list." .bucket) -}}
{{- end -}}
{{- if has .bucket $.Values.provisioning.versioned -}}
{{- fail (printf "provisioning.expiring names bucket %s, and provisioning.versioned too, so expired objects would be kept as versions." .bucket) -}}
{{- end -}}
{{- end -}}
{{- end -}}
