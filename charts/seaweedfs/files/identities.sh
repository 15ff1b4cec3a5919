#!/bin/sh
# Writes $CONFIG, the users that the server knows: root ($ROOT_DIR), who may do everything, and $USERS (words
# NAME:BUCKET:ACCESS) with the policies of $POLICIES. Keys are files in $USERS_DIR/NAME. During a key rotation, the pairs
# NEXT_* and PREVIOUS_* there give access too.
set -eu

# read_key FILE: prints a key that needs no escaping in JSON
read_key() {
  key=$(cat "$1")
  case $key in
    "" | *[!A-Za-z0-9/+=_.-]*)
      echo "The key in $1 cannot be used: it may have letters, digits and the characters / + = _ . - only." >&2
      exit 1
      ;;
  esac
  printf %s "$key"
}

# credential ID-FILE SECRET-FILE
credential() {
  id=$(read_key "$1")
  secret=$(read_key "$2")
  printf '{"accessKey": "%s", "secretKey": "%s"}' "$id" "$secret"
}

# identity NAME DIRECTORY RIGHTS
identity() {
  printf '{"name": "%s", "credentials": [' "$1"
  credential "$2/AWS_ACCESS_KEY_ID" "$2/AWS_SECRET_ACCESS_KEY"
  for pair in NEXT PREVIOUS; do
    if [ -f "$2/${pair}_ACCESS_KEY_ID" ] && [ -f "$2/${pair}_SECRET_ACCESS_KEY" ]; then
      printf ', '
      credential "$2/${pair}_ACCESS_KEY_ID" "$2/${pair}_SECRET_ACCESS_KEY"
    fi
  done
  printf '], %s}' "$3"
}

umask 077
{
  printf '{"identities": ['
  identity root "$ROOT_DIR" '"actions": ["Admin"]'
  for user in $USERS; do
    name=${user%%:*}
    printf ', '
    identity "$name" "$USERS_DIR/$name" "\"actions\": [], \"policyNames\": [\"$name\"]"
  done
  printf '], "policies": '
  cat "$POLICIES"
  printf '}\n'
} >"$CONFIG.new"
# A server without a config would let everybody in, so replace the file only once it is complete.
mv "$CONFIG.new" "$CONFIG"
echo "Wrote the users of the store: root $USERS"
