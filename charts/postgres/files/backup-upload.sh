#!/bin/sh
# Uploads the dump in $BACKUP_DIR to $S3_TARGET (bucket and folder) and keeps the newest $KEEP there. The checksum is
# uploaded last, because a dump counts as a backup only if its checksum exists.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"

connect
for dump in "$BACKUP_DIR"/*.dump; do
  for file in "$dump" "$dump.hmac" "$dump.sha256"; do
    mc cp --quiet "$file" "store/$S3_TARGET/" >/dev/null ||
      fail "No backup: $S3_ENDPOINT_URL did not accept ${file##*/} into $S3_TARGET (keys: $STORE_KEYS)."
  done
done

# By number and not by age: if backups stop, the last good ones stay.
if ! checksums=$(backups '*.dump.sha256') || ! objects=$(backups '*.dump*'); then
  fail "Uploaded ${dump##*/}, but $S3_TARGET cannot be listed: old backups stay."
fi
# shellcheck disable=SC2086 # one word per line is intended; names contain no spaces
set -- $checksums
echo "Uploaded ${dump##*/} to $S3_TARGET. There are $# backups; the newest $KEEP stay."
[ "$#" -gt "$KEEP" ] || exit 0
shift $(($# - KEEP))
oldest_kept=${1%.sha256}
for object in $objects; do
  [ "$object" != "$oldest_kept" ] || break
  mc rm --quiet "$object"
done
