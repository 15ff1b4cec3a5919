#!/bin/sh
# Restores the dump in $BACKUP_DIR as database $PGDATABASE, if it was signed with the key in $BACKUP_KEY_FILE. A temporary
# role, which owns nothing else, loads the dump into a new database. That database then takes the name of the old one in one
# transaction, so a dump that does not load changes nothing. Works if the database exists, if it does not, and on a new
# server without the role.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"
# shellcheck source=/dev/null
. "${0%/*}/signature.sh"

# A search path that no object of a dump can be in.
export PGOPTIONS="--client-min-messages=warning -c search_path=pg_catalog"

sql() {
  psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname="${database:-postgres}" "$@"
}

target=$PGDATABASE
loaded=${target}_restored
replaced=${target}_replaced
loader=${target}_restore

cd "$BACKUP_DIR"
dump=$(echo *.dump)

# --- is it ours? ------------------------------------------------------------------------------------------------------

checksum=$(sha256sum "$dump")
if [ -f "$dump.hmac" ]; then
  expected=$(signature "$dump" "${checksum%% *}")
  [ "$(cat "$dump.hmac")" = "$expected" ] ||
    fail "Nothing restored: the signature of $dump was not made with the key of Secret $BACKUP_KEY_SECRET_NAME. Somebody changed the backup, its name or the key, or it is from another database than $target."
elif [ "$ALLOW_UNSIGNED" != true ]; then
  fail "Nothing restored: $dump has no signature. If it was made before backups were signed, and only you could write to it since then, set restore.allowUnsigned for this one restore."
fi

# A person who can delete newer backups could choose which one is the newest.
if [ -z "$RESTORE_OBJECT" ]; then
  time=${dump%Z.dump}
  made=$(date -u -d "${time%T*} $(echo "${time#*T}" | tr - :)" +%s) || fail "Nothing restored: the name of $dump contains no time."
  [ $(($(date +%s) - made)) -le $((MAX_AGE_HOURS * 3600)) ] ||
    fail "Nothing restored: the newest backup, $dump, is older than $MAX_AGE_HOURS hours. If no newer one is missing, name it in restore.object."
fi

# --- load it ----------------------------------------------------------------------------------------------------------

sql --command='SELECT 1' >/dev/null ||
  fail "Nothing restored: no connection to $PGHOST as $PGUSER (password: Secret $SECRET_NAME)."
sql --file="$SQL_DIR/roles.sql"

clear_away() {
  sql --command="DROP DATABASE IF EXISTS \"$loaded\" WITH (FORCE)" --command="DROP ROLE IF EXISTS \"$loader\""
}

clear_away
password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
sql <<SQL
CREATE ROLE "$loader" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '$password';
CREATE DATABASE "$loaded" OWNER "$loader";
REVOKE ALL ON DATABASE "$loaded" FROM PUBLIC;
SQL

# The dump's statements run as that role, which can use only its database and change nothing else on the server.
load() {
  PGUSER=$loader PGPASSWORD=$password PGOPTIONS="--client-min-messages=warning" \
    pg_restore --exit-on-error --no-owner --no-privileges --dbname="$loaded" "$dump"
}

hand_over() {
  sql --command="ALTER ROLE \"$loader\" NOLOGIN" --command="ALTER DATABASE \"$loaded\" RESET ALL" &&
    database=$loaded sql --set=loader="$loader" <<'SQL'
\set owner `cat "$CREDENTIALS_DIR/mlflow-username"`
REASSIGN OWNED BY :"loader" TO :"owner";
DROP OWNED BY :"loader";
DROP ROLE :"loader";
SQL
}

if ! load || ! hand_over; then
  clear_away
  fail "Nothing restored: $dump did not load. Database $target is unchanged."
fi

# --- change names -----------------------------------------------------------------------------------------------------

# Refuse new connections to the old database before ending its sessions. Otherwise clients could reconnect before the rename.
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
  fail "The restore stopped while it renamed the databases. Run it again."
}
echo "Restored $target from $dump."
