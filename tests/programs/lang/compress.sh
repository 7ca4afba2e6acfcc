#!/bin/bash
# xz and zstd, two threads each, compress and decompress a deterministic stream through pipes; what
# comes out has to be what went in. --megabytes is the length of the stream (60 for each second).
. "$(dirname "$0")/options.sh"
set -o pipefail
bytes=$((${megabytes:-$((seconds * 60))} * 1000000))

stream() {
  seq 1000000007 3 9999999999 | head -c $bytes
}

# The same bytes take other ways: checksummed as they are, and compressed and decompressed.
echo ready
expected=$(stream 2>/dev/null | cksum)
echo "stream: $expected"
for tool in 'xz -T2 -1 --block-size=1000000' 'zstd -q -T2 -9'; do
  seen=$(stream 2>/dev/null | $tool -c | ${tool%% *} -q -d -c | cksum)
  [ "$seen" = "$expected" ] || fail "$tool: expected $expected, saw $seen"
  echo "${tool%% *}: $seen"
done
echo ok
