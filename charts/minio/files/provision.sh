#!/bin/sh
# Makes the buckets $BUCKETS and the users $USERS (words NAME:BUCKET:ACCESS) on the server $MINIO_URL, each user with
# the policy $POLICIES_DIR/NAME.json and the keys in $USERS_DIR/NAME; the keys of root stand in $ROOT_DIR. Safe to
# repeat: policies and keys are written anew, and nothing is taken away.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"

deadline=$(($(date +%s) + WAIT_SECONDS))
connect root "$ROOT_DIR" || fail "The keys in Secret $ROOT_SECRET_NAME cannot be used."
until reason=$(mc ls root 2>&1); do
  case $reason in
    *"does not exist in our records"* | *"signature we calculated"*)
      fail "$MINIO_URL does not know the keys in Secret $ROOT_SECRET_NAME. It reads them when it starts: restart it."
      ;;
  esac
  [ "$(date +%s)" -lt "$deadline" ] || fail "No answer from $MINIO_URL in $WAIT_SECONDS seconds: $reason"
  sleep 2
done

for bucket in $BUCKETS; do
  mc mb --ignore-existing "root/$bucket"
done

for user in $USERS; do
  name=${user%%:*}
  mc admin policy create root "$name" "$POLICIES_DIR/$name.json"
  key=$(cat "$USERS_DIR/$name/AWS_ACCESS_KEY_ID")
  printf '%s\n%s\n' "$key" "$(cat "$USERS_DIR/$name/AWS_SECRET_ACCESS_KEY")" | mc admin user add root >/dev/null ||
    fail "The keys of user $name do not suit: AWS_ACCESS_KEY_ID has 3 to 20 characters, AWS_SECRET_ACCESS_KEY 8 to 40."
  # Attaching a second time is an error to mc, and exactly what is wanted here.
  if ! reason=$(mc admin policy attach root "$name" --user "$key" 2>&1); then
    case $reason in
      *"already in effect"*) ;;
      *) fail "Policy $name cannot be attached to its user: $reason" ;;
    esac
  fi
  echo "User $name is there, with its policy."
done
