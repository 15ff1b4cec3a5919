#!/bin/sh
# Makes the buckets $BUCKETS on the server $STORE_URL; the keys of root stand in $ROOT_DIR. Buckets $VERSIONED keep what is
# overwritten or deleted for $NONCURRENT_DAYS days (0: for good). Users are the server's own settings. Safe to repeat.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"

deadline=$(($(date +%s) + WAIT_SECONDS))
until connect root "$ROOT_DIR" 2>/dev/null && reason=$(mc ls root 2>&1); do
  [ "$(date +%s)" -lt "$deadline" ] ||
    fail "No answer from $STORE_URL to the keys in Secret $ROOT_SECRET_NAME in $WAIT_SECONDS seconds (it reads them when it starts): ${reason:-}"
  sleep 2
done

for bucket in $BUCKETS; do
  mc mb --ignore-existing "root/$bucket"
done

for bucket in $VERSIONED; do
  mc version enable "root/$bucket" >/dev/null || fail "Bucket $bucket cannot keep versions."
  # Rules are written anew as a whole, so that repeating adds none.
  if [ "$NONCURRENT_DAYS" -gt 0 ]; then
    printf '{"Rules": [{"ID": "noncurrent", "Status": "Enabled", "Filter": {"Prefix": ""}, %s}]}\n' \
      "\"NoncurrentVersionExpiration\": {\"NoncurrentDays\": $NONCURRENT_DAYS}" | mc ilm rule import "root/$bucket"
  else
    mc ilm rule rm --all --force "root/$bucket" >/dev/null 2>&1 || true  # It is an error to mc that there is none.
  fi
  echo "Bucket $bucket keeps versions."
done
