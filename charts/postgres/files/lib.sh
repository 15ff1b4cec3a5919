# shellcheck shell=sh
# Shared by the scripts beside it. Those that run mc need nothing else but a shell, for its image has little more.

fail() {
  echo "$1" >&2
  exit 1
}

# Who opens the store, for messages.
STORE_KEYS="${SECRET_NAME:+Secret $SECRET_NAME}"
STORE_KEYS="${STORE_KEYS:-the cloud identity of the pod}"

# Names the store of the backups `store` for mc. The keys go by standard input, so that no command line shows them. Without
# keys, mc fetches short-lived ones for the token that the cloud mounts into the pods of a service account.
connect() {
  if [ -z "${AWS_ACCESS_KEY_ID:-}" ]; then
    [ -n "${AWS_WEB_IDENTITY_TOKEN_FILE:-}" ] ||
      fail "No keys and no cloud identity: name a Secret in backup.s3.existingSecret, or set serviceAccount.annotations so that the cloud mounts a token (AWS_WEB_IDENTITY_TOKEN_FILE)."
    export MC_HOST_store="$S3_ENDPOINT_URL" MC_STS_ENDPOINT_store="$STS_ENDPOINT_URL"
    export MC_WEB_IDENTITY_TOKEN_FILE_store="$AWS_WEB_IDENTITY_TOKEN_FILE"
    return
  fi
  printf '%s\n%s\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" |
    mc alias set store "$S3_ENDPOINT_URL" --api S3v4 >/dev/null ||
    fail "The keys of $STORE_KEYS or the address $S3_ENDPOINT_URL are not valid."
}

# backups PATTERN: what of that name stands in the folder of the backups, one a line. Sorted by name is sorted by time.
backups() {
  mc find "store/$S3_TARGET/" --maxdepth 1 --name "$1"
}
