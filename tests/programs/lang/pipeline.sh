#!/bin/bash
# A pipeline of six processes over generated data; the pipes between them are full or empty at any
# moment. One checksum per round.
. "$(dirname "$0")/options.sh"
set -o pipefail

round() {
  awk -v seed="$1" 'BEGIN { x = seed * 7919 + 1
      for (i = 0; i < 240000; ++i) { x = (x * 69069 + 12345) % 4294967296
        printf "%d word%d %d\n", i, x % 5000, x } }' |
    tr 'a-z' 'A-Z' |
    sed -e 's/WORD\([0-9]*\)/<\1>/' |
    sort -k2,2 -k1,1n |
    awk '{ sum[$2] = (sum[$2] * 31 + $3 + $1) % 4294967291; if ($2 != last) order[++n] = $2; last = $2 }
      END { for (i = 1; i <= n; ++i) print order[i], sum[order[i]] }' |
    cksum
}

echo ready
for ((number = 0; number < seconds * 3; ++number)); do
  sum=$(round $number) || fail "round $number: expected every process to succeed"
  echo "round $number: $sum"
done
echo ok
