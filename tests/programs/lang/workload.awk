# awk (mawk or gawk): arrays, strings and numbers below 2^53; one checksum per step.
# awk -f workload.awk -- --seconds 3
function draw() { return state = (state * 69069 + 12345) % 4294967296 }

function step(number,    i, key, n, parts, text, total) {
  delete count
  text = ""
  for (i = 0; i < 150000; ++i) ++count[draw() % 2000]
  total = 0
  for (i = 0; i < 2000; ++i) {
    total += count[i]
    rolling = (rolling * 31 + count[i]) % 4294967291
  }
  if (total != 150000) {
    print "FAIL expected 150000, saw " total | "cat 1>&2"
    exit 1
  }
  for (i = 0; i < 18000; ++i) text = text sprintf("%d,", draw() % 100000)
  n = split(text, parts, ",")
  for (i = 1; i < n; ++i) rolling = (rolling * 131 + parts[i] + length(parts[i])) % 4294967291
  printf "step %d: %.0f\n", number, rolling
  fflush()
}

BEGIN {
  seconds = ARGV[1] == "--seconds" ? ARGV[2] : 3
  state = 88172645
  print "ready"
  fflush()
  for (s = 0; s < int(seconds * 10) + 1; ++s) step(s)
  print "ok"
}
