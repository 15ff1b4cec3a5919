# shellcheck shell=sh
# Shared by the other scripts in this folder. Scripts that run mc use only the shell besides it, because its image has little
# more.

fail() {
  echo "$1" >&2
  exit 1
}

# The source of the store's keys, for messages.
STORE_KEYS="${SECRET_NAME:+Secret $SECRET_NAME}"
STORE_KEYS="${STORE_KEYS:-the cloud identity of the pod}"

# Gives mc the alias `store` for the store of the backups. The keys go through standard input, so no command line shows them.
# Without keys, mc gets short-lived ones in exchange for the token that the cloud mounts into the pods of a service account.
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

# backups PATTERN: prints the matching names in the folder of the backups, one per line. Sorted by name is sorted by time.
backups() {
  mc find "store/$S3_TARGET/" --maxdepth 1 --name "$1"
}
