#!/bin/sh
# Puts the dump in $BACKUP_DIR back as database $PGDATABASE. It is loaded into a database of its own first and takes the
# other's name in one transaction, so a dump that does not load changes nothing. Works where the database exists, where
# it does not, and where the server is new and has not even the role.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"

export PGOPTIONS="--client-min-messages=warning"

sql() {
  psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname=postgres "$@"
}

target=$PGDATABASE
loaded=${target}_restored
replaced=${target}_replaced

cd "$BACKUP_DIR"
dump=$(echo *.dump)
sha256sum --check --quiet "$dump.sha256" || fail "Nothing restored: $dump is not what its checksum says."

sql --command='SELECT 1' >/dev/null ||
  fail "Nothing restored: no connection to $PGHOST as $PGUSER (password: Secret $SECRET_NAME)."
sql --file="$SQL_DIR/roles.sql"
owner=$(cat "$CREDENTIALS_DIR/mlflow-username")

sql --command="DROP DATABASE IF EXISTS \"$loaded\" WITH (FORCE)"
DATABASE=$loaded sql --file="$SQL_DIR/database.sql"
pg_restore --exit-on-error --no-owner --no-privileges --role="$owner" --dbname="$loaded" "$dump" || {
  sql --command="DROP DATABASE \"$loaded\" WITH (FORCE)"
  fail "Nothing restored: $dump did not load. Database $target is as it was."
}

# The old database is closed before its sessions end, or clients would be back in it before the names change.
change_names() {
  sql --set=target="$target" --set=loaded="$loaded" --set=replaced="$replaced" <<'SQL'
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :'target') AS exists \gset
\if :exists
  DROP DATABASE IF EXISTS :"replaced" WITH (FORCE);
  ALTER DATABASE :"target" WITH ALLOW_CONNECTIONS false;
  SELECT count(pg_terminate_backend(pid)) AS sessions FROM pg_stat_activity WHERE datname = :'target' \gset
  \echo Ended :sessions sessions.
  BEGIN;
  ALTER DATABASE :"target" RENAME TO :"replaced";
  ALTER DATABASE :"loaded" RENAME TO :"target";
  COMMIT;
  DROP DATABASE :"replaced" WITH (FORCE);
\else
  ALTER DATABASE :"loaded" RENAME TO :"target";
\endif
SQL
}

change_names || {
  sql --command="ALTER DATABASE \"$target\" WITH ALLOW_CONNECTIONS true"
  fail "The restore stopped while the databases changed names. Run it once more."
}
echo "Restored $target from $dump."
