#!/bin/sh
# run_twice.sh PROGRAM ARGUMENT...: runs a program twice; passes if both runs succeed and print the
# same bytes. Its temporary files go to a directory of its own, which has to be empty afterwards.
set -u
own=$(mktemp -d) || exit 1
trap 'rm -rf "$own"' EXIT
TMPDIR=$own/tmp
export TMPDIR
mkdir "$TMPDIR"

for run in 1 2; do
  "$@" >"$own/out.$run"
  status=$?
  if [ $status -ne 0 ]; then
    echo "run $run of $*: exit status $status" >&2
    exit $status
  fi
  if [ -n "$(ls -A "$TMPDIR")" ]; then
    echo "run $run of $* left behind: $(ls -A "$TMPDIR")" >&2
    exit 1
  fi
done

if [ ! -s "$own/out.1" ]; then
  echo "$* printed nothing" >&2
  exit 1
fi
cmp "$own/out.1" "$own/out.2"
