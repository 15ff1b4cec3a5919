# shellcheck shell=sh
# Shared by the scripts beside it. Those that run mc need nothing else but a shell, for its image has little more.

fail() {
  echo "$1" >&2
  exit 1
}

# Names the store of the backups `store` for mc. The keys go by standard input, so that no command line shows them.
connect() {
  printf '%s\n%s\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" |
    mc alias set store "$S3_ENDPOINT_URL" --api S3v4 >/dev/null ||
    fail "The keys in Secret $SECRET_NAME or the address $S3_ENDPOINT_URL cannot be used."
}

# backups PATTERN: what of that name stands in the folder of the backups, one a line. Sorted by name is sorted by time.
backups() {
  mc find "store/$S3_TARGET/" --maxdepth 1 --name "$1"
}
