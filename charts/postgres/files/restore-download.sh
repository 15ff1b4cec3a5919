#!/bin/sh
# Downloads the backup $RESTORE_OBJECT (a name in $S3_TARGET; empty: the newest) and its signature into $BACKUP_DIR.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"

connect

if [ -n "$RESTORE_OBJECT" ]; then
  dump=$RESTORE_OBJECT
else
  found=$(backups '*.dump.sha256') && [ -n "$found" ] ||
    fail "Nothing restored: no backup found in $S3_TARGET on $S3_ENDPOINT_URL (keys: $STORE_KEYS)."
  for object in $found; do
    dump=${object##*/}
  done
  dump=${dump%.sha256}
fi

mc cp --quiet "store/$S3_TARGET/$dump" "$BACKUP_DIR/" >/dev/null ||
  fail "Nothing restored: $dump could not be downloaded from $S3_TARGET on $S3_ENDPOINT_URL."
# The next container has the key, so it decides whether a backup without a signature may be restored.
mc cp --quiet "store/$S3_TARGET/$dump.hmac" "$BACKUP_DIR/" >/dev/null ||
  echo "$dump.hmac could not be downloaded from $S3_TARGET on $S3_ENDPOINT_URL." >&2
