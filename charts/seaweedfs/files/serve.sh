#!/bin/sh
# Runs the server with the given arguments. When keys in $ROOT_DIR or $USERS_DIR change, it writes the users' file again and
# tells the running server to read it (SIGHUP). $METADATA says where the server keeps the names of objects.
set -eu
here=${0%/*}

# The names are in one of two places. A server that reads the wrong one would look like an empty store.
case $METADATA in
  own) wrong=$DATA_DIR/etcd before=three ;;
  shared) wrong=$DATA_DIR/filerldb2 before=one ;;
esac
if [ -e "$wrong" ]; then
  echo "This disk was made by a store with replicas: $before (it has $wrong). This number cannot be changed:" \
    "set it back, or make a new one under another name and copy the objects (docs/storage.md)." >&2
  exit 1
fi

weed "$@" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null || true' TERM INT

while sleep "$RELOAD_SECONDS"; do
  known=$(sha256sum <"$CONFIG")
  # Invalid keys change nothing: the script names them, and the server keeps the keys that it has.
  sh "$here/identities.sh" >/dev/null || continue
  [ "$known" = "$(sha256sum <"$CONFIG")" ] || { kill -HUP "$server" && echo "The server reads its users again."; }
done &
watcher=$!

status=0
wait "$server" || status=$?
# A signal ends the wait, but not the server.
while kill -0 "$server" 2>/dev/null; do
  status=0
  wait "$server" || status=$?
done
kill "$watcher" 2>/dev/null || true
exit "$status"
