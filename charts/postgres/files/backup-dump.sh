#!/bin/sh
# Dumps $PGDATABASE into $BACKUP_DIR as TIME.dump, together with its checksum and signature. The connection comes from
# libpq's own PG* variables. $SECRET_NAME is the Secret with the password. $BACKUP_KEY_FILE holds the key for the signature.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"
# shellcheck source=/dev/null
. "${0%/*}/signature.sh"

cd "$BACKUP_DIR"
dump=$(date -u +%Y-%m-%dT%H-%M-%SZ).dump

pg_dump --format=custom --file="$dump" ||
  fail "No backup: pg_dump could not read database $PGDATABASE on $PGHOST as $PGUSER (password: Secret $SECRET_NAME)."
# A truncated dump has no table of contents. Notice it now, not on the day of the restore.
pg_restore --list "$dump" >/dev/null || fail "No backup: the dump $dump cannot be read back."
sha256sum "$dump" >"$dump.sha256"
checksum=$(cut -d " " -f 1 "$dump.sha256")
signed=$(signature "$dump" "$checksum")
echo "$signed" >"$dump.hmac"
echo "Dumped $PGDATABASE: $(wc -c <"$dump") bytes, $(cat "$dump.sha256"), signed by the key of Secret $BACKUP_KEY_SECRET_NAME"
