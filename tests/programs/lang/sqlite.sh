#!/bin/sh
# sqlite3 writes a database in many transactions (write-ahead log, shared memory, file locks), checks
# it and dumps it; the dump's checksum is the result.
. "$(dirname "$0")/options.sh"
here=$(cd "$(dirname "$0")" && pwd)
directory=$(mktemp -d) || fail "expected a temporary directory"
trap 'rm -rf "$directory"' EXIT

statements() {
  cat "$here/sqlite_schema.sql"
  step=0
  while [ $step -lt $((seconds * 10)) ]; do
    cat "$here/sqlite_step.sql"
    step=$((step + 1))
  done
}

statements | sqlite3 -bail "$directory/database" || fail "expected sqlite3 to succeed"
check=$(sqlite3 "$directory/database" 'PRAGMA integrity_check')
[ "$check" = ok ] || fail "expected an intact database, saw $check"
sqlite3 "$directory/database" .dump | cksum
echo ok
