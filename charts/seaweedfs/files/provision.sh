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

make_buckets
