# shellcheck shell=sh
# Shared by the scripts beside it. The image of mc has a shell and coreutils, and nothing else for certain.

fail() {
  echo "$1" >&2
  exit 1
}

# connect ALIAS DIRECTORY: names the server ALIAS for mc, with the two keys that stand as files in DIRECTORY. They go by
# standard input, so that no command line shows them.
connect() {
  printf '%s\n%s\n' "$(cat "$2/AWS_ACCESS_KEY_ID")" "$(cat "$2/AWS_SECRET_ACCESS_KEY")" |
    mc alias set "$1" "$STORE_URL" --api S3v4 >/dev/null
}

# make_buckets: makes the buckets $BUCKETS on the server `root`; those of $VERSIONED keep what is overwritten or deleted for
# $NONCURRENT_DAYS days (0: for good). What is in those of $EXPIRING (words BUCKET:DAYS) goes after these days (0: never), and
# what is in the others stays.
make_buckets() {
  for bucket in $BUCKETS; do
    mc mb --ignore-existing "root/$bucket"
  done

  for bucket in $VERSIONED; do
    mc version enable "root/$bucket" >/dev/null || fail "Bucket $bucket cannot keep versions."
    # Rules are written anew as a whole, so that repeating adds none.
    if [ "$NONCURRENT_DAYS" -gt 0 ]; then
      printf '{"Rules": [{"ID": "noncurrent", "Status": "Enabled", "Filter": {"Prefix": ""}, %s}]}\n' \
        "\"NoncurrentVersionExpiration\": {\"NoncurrentDays\": $NONCURRENT_DAYS}" | mc ilm rule import "root/$bucket"
    else
      mc ilm rule rm --all --force "root/$bucket" >/dev/null 2>&1 || true  # It is an error to mc that there is none.
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

  # A bucket that left that list still has its rule, by which its objects would go. Rules that people made have other names.
  for bucket in $BUCKETS; do
    case " $EXPIRING " in *" $bucket:"*) continue ;; esac
    case $(mc ilm rule export "root/$bucket" 2>/dev/null) in
      *'"expiry"'*)
        mc ilm rule rm --id expiry "root/$bucket" >/dev/null || fail "What is in bucket $bucket still goes after some days."
        echo "What is in bucket $bucket stays."
        ;;
    esac
  done
}
