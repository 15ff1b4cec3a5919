# shellcheck shell=sh
# Proves who made a backup: an HMAC-SHA256 over its time, database and checksum, with a key that the store never sees. Needs
# only sha256sum. The key is read from a file and passed only to shell builtins, so no command line shows it.

# masked BYTE: prints the key in $BACKUP_KEY_FILE, padded with zeros to a block of 64 bytes, each byte XOR BYTE
masked() (
  LC_ALL=C
  rest=$(cat "$BACKUP_KEY_FILE")
  n=0
  while [ "$n" -lt 64 ]; do
    code=0
    if [ -n "$rest" ]; then
      code=$(printf %d "'$rest")
      rest=${rest#?}
    fi
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\$(printf %03o $((code ^ $1)))"
    n=$((n + 1))
  done
)

# signature DUMP CHECKSUM: prints the signature of $PGDATABASE's backup with that name and SHA-256
signature() (
  key=$(cat "$BACKUP_KEY_FILE") && [ "${#key}" -ge 32 ] && [ "${#key}" -le 64 ] ||
    fail "The key in Secret $BACKUP_KEY_SECRET_NAME cannot be used: it needs 32 to 64 ASCII characters."
  inner=$({ masked 54 && printf 'postgres backup 1\n%s\n%s\n%s\n' "$PGDATABASE" "$1" "$2"; } | sha256sum)
  hex=${inner%% *}
  outer=$({
    masked 92
    while [ -n "$hex" ]; do
      rest=${hex#??}
      # shellcheck disable=SC2059 # the format is the byte
      printf "\\$(printf %03o "0x${hex%"$rest"}")"
      hex=$rest
    done
  } | sha256sum)
  echo "${outer%% *}"
)
