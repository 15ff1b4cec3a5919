#!/bin/sh
# Makes the buckets $BUCKETS on the server $STORE_URL, with root's keys in $ROOT_DIR. Buckets in $VERSIONED keep overwritten
# and deleted objects for $NONCURRENT_DAYS days (0: forever). The servers read the users ($USERS: words NAME:BUCKET:ACCESS)
# from the same files as in $USERS_DIR here. This script waits until every server of $NODE_URLS uses their present content.
# Safe to repeat.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"

deadline=$(($(date +%s) + WAIT_SECONDS))

# answer URL BUCKET ID-FILE SECRET-FILE: prints what the server says about these keys. `known`; `mismatch` if it knows the id
# with another secret; `unknown`; or `silent` if it does not answer
answer() {
  folder=$(mktemp -d)
  cp "$3" "$folder/AWS_ACCESS_KEY_ID"
  cp "$4" "$folder/AWS_SECRET_ACCESS_KEY"
  if said=$(STORE_URL=$1 connect asked "$folder" 2>&1 && timeout 30 mc ls "asked/$2" 2>&1); then said=listed; fi
  rm -r "$folder"
  case $said in
    *"does not exist in our records"*) echo unknown ;;
    *"signature we calculated"*) echo mismatch ;;
    listed | *"Access Denied"*) echo known ;;
    *) echo silent ;;
  esac
}

# until_is WANTED WHOSE URL BUCKET ID-FILE SECRET-FILE: waits for that answer. Skips a server that is down, because it reads
# its users when it starts.
until_is() {
  while state=$(answer "$3" "$4" "$5" "$6"); do
    case $state in
      "$1" | silent) return ;;
    esac
    [ "$(date +%s)" -lt "$deadline" ] ||
      fail "The keys of $2 are $state at $3 after $WAIT_SECONDS seconds, but should be $1: kubectl logs of its pod says which keys cannot be used."
    sleep 2
  done
}

until connect root "$ROOT_DIR" 2>/dev/null && reason=$(mc ls root 2>&1); do
  [ "$(date +%s)" -lt "$deadline" ] ||
    fail "No answer from $STORE_URL to the keys in Secret $ROOT_SECRET_NAME in $WAIT_SECONDS seconds: ${reason:-}"
  sleep 2
done

make_buckets

nobody=$(mktemp)
echo nobodys-secret >"$nobody"
for url in $NODE_URLS; do
  until_is known "Secret $ROOT_SECRET_NAME" "$url" "${BUCKETS%% *}" "$ROOT_DIR/AWS_ACCESS_KEY_ID" "$ROOT_DIR/AWS_SECRET_ACCESS_KEY"
  if [ "$state" = silent ]; then
    echo "$url does not answer. It reads its users when it starts."
    continue
  fi
  for user in $USERS; do
    name=${user%%:*}
    bucket=${user#*:}
    bucket=${bucket%:*}
    keys=$USERS_DIR/$name
    until_is known "user $name" "$url" "$bucket" "$keys/AWS_ACCESS_KEY_ID" "$keys/AWS_SECRET_ACCESS_KEY"
    if [ -f "$keys/NEXT_SECRET_ACCESS_KEY" ]; then
      until_is known "the next user $name" "$url" "$bucket" "$keys/NEXT_ACCESS_KEY_ID" "$keys/NEXT_SECRET_ACCESS_KEY"
    fi
    # An id whose secret was removed must not give access any more.
    if [ -f "$keys/PREVIOUS_ACCESS_KEY_ID" ] && [ ! -f "$keys/PREVIOUS_SECRET_ACCESS_KEY" ]; then
      until_is unknown "the former user $name" "$url" "$bucket" "$keys/PREVIOUS_ACCESS_KEY_ID" "$nobody"
    fi
  done
done
