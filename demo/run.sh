#!/bin/bash
# Shows what torpor does: a Python program with threads is saved, killed with SIGKILL, and goes on.
# Everything happens in a directory of its own, as the present user. The status is 0 only if both
# runs together printed exactly what an undisturbed run prints.
#
# usage: demo/run.sh          TORPOR: the binary (else that of the release build)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
torpor=$(realpath "${TORPOR:-$here/../build/release/torpor}")
python=/usr/bin/python3
steps=24
pause=0.2

directory=$(mktemp -d "${TMPDIR:-/tmp}/torpor-demo.XXXXXX")
launch='' program='' restart=''

clean_up() {
  local pid
  for pid in $launch $program $restart; do kill -KILL "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$directory"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

say() { printf '\n%s\n' "$*"; }
die() {
  printf 'demo: %s\n' "$*" >&2
  cat "$directory"/*.err >&2 2>/dev/null || true
  exit 1
}

# Writes what comes in to a file, and shows it.
show() { tee "$1" | sed -u 's/^/    | /'; }

# start NAME COMMAND...: in the background, with its output shown and in the file NAME. The pipe is
# made here, so that the one who reads it is our child and not the command's.
start() {
  local name=$1 out
  shift
  exec {out}> >(show "$name")
  "$@" </dev/null >&"$out" 2>"$name.err" {out}>&- &
  exec {out}>&-
}

lines() { wc -l <"$1"; }

# wait_until SECONDS CONDITION...: the condition is a command.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS <= deadline)) || return 1
    sleep 0.02
  done
}

has_lines() { [[ -e $1 ]] && (($(lines "$1") >= $2)); }
# A zombie is gone, too: nobody may be there to reap it.
is_gone() { ! grep -q '^State:.[^ZX]' "/proc/$1/status" 2>/dev/null; }
is_complete() { [[ "$(tail -n 1 "$directory/after" 2>/dev/null)" == "$(tail -n 1 "$directory/whole")" ]]; }

# Descriptors that we have from whoever started us would lead out of the program: torpor refuses
# those whose other end it cannot bring back.
for fd in /proc/self/fd/*; do
  fd=${fd##*/}
  ((fd <= 2 || fd == 255)) || eval "exec $fd>&-"
done

export TORPOR_DIR=$directory/images XDG_RUNTIME_DIR=$directory
cp "$here/primes.py" "$directory"
cd "$directory"
"$python" primes.py "$steps" 0 >whole

say "\$ torpor launch --name primes -- python3 primes.py $steps $pause"
start before "$torpor" launch --name primes -- "$python" primes.py "$steps" "$pause"
launch=$!
wait_until 30 has_lines before 5 || die "the program prints nothing"
program=$("$torpor" ps --json | "$python" -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])')
printf '    # process %s, %s threads\n' "$program" "$(ls "/proc/$program/task" | wc -l)"

known=$(lines before)
say "\$ torpor checkpoint primes"
"$torpor" checkpoint primes 2>checkpoint.err | sed 's/^/    /' || die "the checkpoint failed"
wait_until 30 has_lines before $((known + 3)) || die "the program did not go on"

say "\$ kill -KILL $program $launch        # the program and its supervisor"
{ # without the shell's own remark about it
  kill -KILL "$program" "$launch"
  wait "$launch" || true
} 2>/dev/null
wait_until 10 is_gone "$program" || die "the program still runs"
program='' launch=''

say "\$ torpor restart primes"
start after "$torpor" restart primes
restart=$!
status=0
wait "$restart" || status=$?
restart=''
((status == 0)) || die "the restarted program ended with status $status"
wait_until 10 is_complete || die "the restarted program did not come to its end"

saved=$((steps - $(lines after)))
((saved >= known)) || die "the program went on from before the checkpoint: line $saved"
((saved < $(lines before))) || die "the program went on from behind the kill: line $saved"
head -n "$saved" before | cat - after | cmp - whole ||
  die "the two runs together did not print what one undisturbed run prints"
say "The program went on behind line $saved, where it was saved; its output is that of an undisturbed run."
