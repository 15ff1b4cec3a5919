# shellcheck shell=sh
# Shared by the other scripts in this folder. The image of mc has a shell and coreutils; do not rely on other programs.

fail() {
  echo "$1" >&2
  exit 1
}

# connect ALIAS DIRECTORY: gives mc an alias for the server, with the two keys that are files in DIRECTORY. The keys go
# through standard input, so no command line shows them.
connect() {
  printf '%s\n%s\n' "$(cat "$2/AWS_ACCESS_KEY_ID")" "$(cat "$2/AWS_SECRET_ACCESS_KEY")" |
    mc alias set "$1" "$STORE_URL" --api S3v4 >/dev/null
}

# make_buckets: makes the buckets $BUCKETS on the server `root`. Buckets in $VERSIONED keep overwritten and deleted objects
# for $NONCURRENT_DAYS days (0: forever). Objects in the buckets of $EXPIRING (words BUCKET:DAYS) expire after that many days
# (0: never). In all other buckets objects stay.
make_buckets() {
  for bucket in $BUCKETS; do
    mc mb --ignore-existing "root/$bucket"
  done

  for bucket in $VERSIONED; do
    mc version enable "root/$bucket" >/dev/null || fail "Bucket $bucket cannot keep versions."
    # An import replaces all rules of the bucket, so a second run adds none.
    if [ "$NONCURRENT_DAYS" -gt 0 ]; then
      printf '{"Rules": [{"ID": "noncurrent", "Status": "Enabled", "Filter": {"Prefix": ""}, %s}]}\n' \
        "\"NoncurrentVersionExpiration\": {\"NoncurrentDays\": $NONCURRENT_DAYS}" | mc ilm rule import "root/$bucket"
    else
      mc ilm rule rm --all --force "root/$bucket" >/dev/null 2>&1 || true  # mc fails if there is no rule.
    fi
    echo "Bucket $bucket keeps versions."
  done

  for rule in $EXPIRING; do
    bucket=${rule%%:*}
    days=${rule##*:}
    if [ "$days" -gt 0 ]; then
      printf '{"Rules": [{"ID": "expiry", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": %s}}]}\n' \
        "$days" | mc ilm rule import "root/$bucket" || fail "Objects in bucket $bucket cannot be set to expire after $days days."
      echo "Objects in bucket $bucket expire after $days days."
    else
      mc ilm rule rm --all --force "root/$bucket" >/dev/null 2>&1 || true  # As above.
    fi
  done

  # A bucket that was removed from $EXPIRING still has its rule, which would delete its objects. Only rules of this script
  # have the id "expiry".
  for bucket in $BUCKETS; do
    case " $EXPIRING " in *" $bucket:"*) continue ;; esac
    case $(mc ilm rule export "root/$bucket" 2>/dev/null) in
      *'"expiry"'*)
        mc ilm rule rm --id expiry "root/$bucket" >/dev/null || fail "The rule that expires objects in bucket $bucket cannot be removed."
        echo "Objects in bucket $bucket do not expire any more."
        ;;
    esac
  done
}
