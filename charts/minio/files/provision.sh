#!/bin/sh
# Makes the buckets $BUCKETS and the users $USERS (words NAME:BUCKET:ACCESS) on the server $STORE_URL; the keys of root
# stand in $ROOT_DIR. NAME is what a user is for: it names the policy $POLICIES_DIR/NAME.json and the folder
# $USERS_DIR/NAME with the keys, of which AWS_ACCESS_KEY_ID is the user's id on the server. While keys are rotated, the
# pair NEXT_* there is a user too, and PREVIOUS_ACCESS_KEY_ID stays one. Whoever else has one of these policies is
# removed. Buckets $VERSIONED keep what is overwritten or deleted for $NONCURRENT_DAYS days (0: for good). Safe to repeat.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"

# add_user NAME ID-FILE SECRET-FILE
add_user() {
  key=$(cat "$2")
  printf '%s\n%s\n' "$key" "$(cat "$3")" | mc admin user add root >/dev/null ||
    fail "The keys of user $1 are not valid: AWS_ACCESS_KEY_ID must have 3 to 20 characters, AWS_SECRET_ACCESS_KEY 8 to 40."
  # Attaching a second time is an error to mc, and exactly what is wanted here.
  if ! reason=$(mc admin policy attach root "$1" --user "$key" 2>&1); then
    case $reason in
      *"already in effect"*) ;;
      *) fail "Policy $1 cannot be attached to its user: $reason" ;;
    esac
  fi
}

# stays ID NAME: whether the Secret of NAME says that this user is one of its own
stays() {
  for file in AWS_ACCESS_KEY_ID NEXT_ACCESS_KEY_ID PREVIOUS_ACCESS_KEY_ID; do
    [ -f "$USERS_DIR/$2/$file" ] && [ "$(cat "$USERS_DIR/$2/$file")" = "$1" ] && return
  done
  return 1
}

# field NAME JSON: the text of a field of one flat object
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

# An id that was in use once opens the store for ever unless it goes. One object a line; the list is kept in a file,
# since a failure within a pipe would go unseen.
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
