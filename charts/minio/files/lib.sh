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
