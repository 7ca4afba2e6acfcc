#!/bin/sh
# Generates a small C project, builds it with make -j4, runs it; twice, and both have to print the same
# number. The number of sources follows from --seconds (about 40 for 3).
. "$(dirname "$0")/options.sh"
here=$(cd "$(dirname "$0")" && pwd)/cproject
directory=$(mktemp -d) || fail "expected a temporary directory"
trap 'rm -rf "$directory"' EXIT
TMPDIR=$directory
export TMPDIR

sh "$here/gen.sh" "$directory" $((seconds * 13 + 1)) || fail "expected the sources to be written"
echo ready
for optimize in -O1 -O2; do
  make -s -j4 -f "$here/Makefile" -C "$directory" CC=gcc "CFLAGS=$optimize -std=c11 -Wall -Werror" ||
    fail "expected make to succeed"
  seen=$("$directory/program") || fail "expected the program to succeed"
  echo "program $optimize: $seen"
  [ "${first:-$seen}" = "$seen" ] || fail "expected $first, saw $seen"
  first=$seen
  rm -f "$directory"/*.o "$directory/program"
done
echo ok
