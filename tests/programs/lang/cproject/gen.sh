#!/bin/sh
# gen.sh DIRECTORY FILES: writes FILES deterministic C sources, a main program and a header there.
directory=$1 files=$2

{
  echo '#include <stdint.h>'
  i=0
  while [ $i -lt "$files" ]; do
    echo "uint64_t part_$i(uint64_t x);"
    i=$((i + 1))
  done
} >"$directory/parts.h"

# A file of functions that call each other, with a switch of many cases for the optimizer.
part() {
  echo '#include "parts.h"'
  j=0
  while [ $j -lt 12 ]; do
    cat <<END
static uint64_t f$j(uint64_t x) {
  uint64_t table[16], sum = x + $(( ($1 * 31 + j * 7) % 1009 ));
  for (int i = 0; i < 16; ++i) table[i] = sum * (uint64_t)(i + $((j + 3))) ^ (sum >> (i + 1));
  for (int i = 0; i < 16; ++i)
    switch ((table[i] >> 7) % 8) {
      case 0: sum += table[(i + 1) % 16] * 31; break;
      case 1: sum ^= table[(i + 3) % 16] << 5; break;
      case 2: sum -= table[(i + 5) % 16] >> 3; break;
      case 3: sum = sum * 131 + $1; break;
      case 4: sum = (sum << 7) | (sum >> 57); break;
      default: sum += (uint64_t)i * $((j + 11)); break;
    }
  return sum;
}
END
    j=$((j + 1))
  done
  echo "uint64_t part_$1(uint64_t x) {"
  echo "  return f0(f1(f2(f3(f4(f5(f6(f7(f8(f9(f10(f11(x))))))))))));"
  echo "}"
}

i=0
while [ $i -lt "$files" ]; do
  part $i >"$directory/part_$i.c"
  i=$((i + 1))
done

{
  echo '#include <inttypes.h>'
  echo '#include <stdio.h>'
  echo '#include "parts.h"'
  echo 'int main(void) {'
  echo '  uint64_t x = 1;'
  i=0
  while [ $i -lt "$files" ]; do
    echo "  x = part_$i(x);"
    i=$((i + 1))
  done
  printf '%s\n' '  printf("%016" PRIx64 "\n", x);'
  echo '}'
} >"$directory/main.c"
