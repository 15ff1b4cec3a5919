#!/bin/sh
# Makes the buckets $BUCKETS and the users $USERS (words NAME:BUCKET:ACCESS) on the server $STORE_URL, with root's keys in
# $ROOT_DIR. NAME is the purpose of a user. It names the policy $POLICIES_DIR/NAME.json and the folder $USERS_DIR/NAME with
# the user's keys; the user's id on the server is AWS_ACCESS_KEY_ID. During a key rotation, the pair NEXT_* is a user too,
# and the user PREVIOUS_ACCESS_KEY_ID stays. Every other user with one of these policies is removed. Buckets in $VERSIONED
# keep overwritten and deleted objects for $NONCURRENT_DAYS days (0: forever). Safe to repeat.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"

# add_user NAME ID-FILE SECRET-FILE
add_user() {
  key=$(cat "$2")
  printf '%s\n%s\n' "$key" "$(cat "$3")" | mc admin user add root >/dev/null ||
    fail "The keys of user $1 are not valid: AWS_ACCESS_KEY_ID must have 3 to 20 characters, AWS_SECRET_ACCESS_KEY 8 to 40."
  # mc fails if the policy is already attached, which is the wanted state here.
  if ! reason=$(mc admin policy attach root "$1" --user "$key" 2>&1); then
    case $reason in
      *"already in effect"*) ;;
      *) fail "Policy $1 cannot be attached to its user: $reason" ;;
    esac
  fi
}

# stays ID NAME: succeeds if the Secret of NAME contains this id
stays() {
  for file in AWS_ACCESS_KEY_ID NEXT_ACCESS_KEY_ID PREVIOUS_ACCESS_KEY_ID; do
    [ -f "$USERS_DIR/$2/$file" ] && [ "$(cat "$USERS_DIR/$2/$file")" = "$1" ] && return
  done
  return 1
}

# field NAME JSON: prints the text of one field of a flat object
field() {
  case $2 in
    *"\"$1\":\""*) rest=${2#*"\"$1\":\""} && echo "${rest%%\"*}" ;;
  esac
}

deadline=$(($(date +%s) + WAIT_SECONDS))
connect root "$ROOT_DIR" || fail "The keys in Secret $ROOT_SECRET_NAME cannot be used."
until reason=$(mc ls root 2>&1); do
  case $reason in
    *"does not exist in our records"* | *"signature we calculated"*)
      fail "$STORE_URL does not know the keys in Secret $ROOT_SECRET_NAME. It reads them when it starts: restart it."
      ;;
  esac
  [ "$(date +%s)" -lt "$deadline" ] || fail "No answer from $STORE_URL in $WAIT_SECONDS seconds: $reason"
  sleep 2
done

make_buckets

for user in $USERS; do
  name=${user%%:*}
  mc admin policy create root "$name" "$POLICIES_DIR/$name.json"
  add_user "$name" "$USERS_DIR/$name/AWS_ACCESS_KEY_ID" "$USERS_DIR/$name/AWS_SECRET_ACCESS_KEY"
  if [ -f "$USERS_DIR/$name/NEXT_ACCESS_KEY_ID" ]; then
    add_user "$name" "$USERS_DIR/$name/NEXT_ACCESS_KEY_ID" "$USERS_DIR/$name/NEXT_SECRET_ACCESS_KEY"
  fi
  echo "User $name exists, with its policy."
done

# A former id gives access until it is removed. mc prints one object per line. Its output is kept in a variable, because a
# failure in a pipe would not be noticed.
known=$(mc admin user list root --json) || fail "$STORE_URL does not list its users."
printf '%s\n' "$known" | while read -r line; do
  id=$(field accessKey "$line")
  policy=$(field policyName "$line")
  for user in $USERS; do
    if [ -n "$id" ] && [ "$policy" = "${user%%:*}" ] && ! stays "$id" "$policy"; then
      mc admin user rm root "$id" >/dev/null || fail "A former user of policy $policy cannot be removed."
      echo "A former user of policy $policy is removed."
    fi
  done
done
