# A shell (dash or bash): arithmetic, functions, subshells, command substitution, here-documents,
# external commands, background jobs with wait, a trap; one checksum per step.
. "$(dirname "$0")/options.sh"

state=88172645 rolling=0 traps=0
trap 'traps=$((traps + 1))' USR1

mix() {
  rolling=$(( (rolling * 31 + $1) % 4294967291 ))
}

compute() {
  i=0
  while [ $i -lt 10000 ]; do
    state=$(( (state * 69069 + 12345) % 4294967296 ))
    mix $state
    i=$((i + 1))
  done
}

# Subshells in the background exit with statuses that wait has to give back.
jobs_with_status() {
  (exit 3) & first=$!
  (sleep 0.01; exit 4) & second=$!
  wait $second; [ $? -eq 4 ] || fail "expected status 4 of the second job"
  wait $first; [ $? -eq 3 ] || fail "expected status 3 of the first job"
}

step() {
  compute
  jobs_with_status
  kill -USR1 $$
  [ $traps -eq $(($1 + 1)) ] || fail "expected $(($1 + 1)) traps, saw $traps"
  sum=$(cksum <<END
$rolling $(expr $state % 1000)
END
)
  mix "${sum%% *}"
  echo "step $1: $rolling"
}

echo ready
number=0
while [ $number -lt $((seconds * 10 + 1)) ]; do
  step $number
  number=$((number + 1))
done
echo ok
