#!/bin/sh
# `helm test`: every user ($USERS: words NAME:BUCKET:ACCESS) can do what its access says with its bucket, and nothing more.
# It has no access to the other buckets ($BUCKETS), except to read those that $ALSO_READS (words NAME:BUCKET) lists.
set -eu
# shellcheck source=/dev/null
. "${0%/*}/lib.sh"

# A file, because `mc pipe` allocates a buffer of 528 MiB. Sometimes Go zeroes it first, which exceeds the memory limit.
written=/tmp/helm-test
echo test >"$written"

for user in $USERS; do
  name=${user%%:*}
  access=${user##*:}
  own=${user#*:}
  own=${own%:*}
  connect "$name" "$USERS_DIR/$name"

  for bucket in $BUCKETS; do
    case " ${ALSO_READS:-} " in
      *" $name:$bucket "*)
        mc ls "$name/$bucket" >/dev/null || fail "User $name cannot list bucket $bucket, which it also reads."
        ! mc put "$written" "$name/$bucket/helm-test-$name" >/dev/null 2>&1 ||
          fail "User $name can write to $bucket, and should only read."
        continue
        ;;
    esac
    if [ "$bucket" = "$own" ] && [ "$access" != writeOnly ]; then
      mc ls "$name/$bucket" >/dev/null || fail "User $name cannot list its bucket $bucket."
    elif mc ls "$name/$bucket" >/dev/null 2>&1; then
      fail "User $name can list bucket $bucket, but should not."
    fi
  done

  object=$name/$own/helm-test-$name
  if [ "$access" = writeOnly ]; then
    # `put` does not first read the object, as `cp` does. The object stays until the bucket's rule deletes it.
    reason=$(mc put "$written" "$object" 2>&1) || fail "User $name cannot write to its bucket $own: $reason"
    ! mc cat "$object" >/dev/null 2>&1 || fail "User $name can read objects in $own, but should only write."
    ! mc rm --quiet "$object" >/dev/null 2>&1 || fail "User $name can delete objects in $own, but should only write."
    echo "User $name: $access on $own, as configured."
    continue
  fi
  if reason=$(mc cp --quiet "$written" "$object" 2>&1); then
    mc rm --quiet "$object" >/dev/null || fail "User $name can write to $own, but cannot delete its objects."
    [ "$access" = readWrite ] || fail "User $name can write to $own, but should only read."
  elif [ "$access" = readWrite ]; then
    fail "User $name cannot write to its bucket $own: $reason"
  fi
  echo "User $name: $access on $own, as configured."
done
