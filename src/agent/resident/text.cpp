// Words and numbers, without a library.
#include "agent/resident/resident.h"

namespace torpor::agent {

std::size_t length_of(const char* text) {
  std::size_t length = 0;
  while (text[length] != '\0') ++length;
  return length;
}

bool same_text(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return *a == *b;
}

char* put_hex(char* to, std::uint64_t number) {
  int digits = 1;
  while (digits < 16 && (number >> (4 * digits)) != 0) ++digits;
  for (int i = digits - 1; i >= 0; --i) {
    const auto digit = static_cast<unsigned>(number >> (4 * i)) & 15U;
    *to++ = static_cast<char>(digit < 10 ? '0' + digit : 'a' + digit - 10);
  }
  *to++ = ' ';
  return to;
}

char* put_number(char* to, std::uint64_t number) {
  if (number >= 10) to = put_number(to, number / 10);
  *to++ = static_cast<char>('0' + number % 10);
  *to = '\0';
  return to;
}

const char* take_hex(const char* from, std::uint64_t* number) {
  *number = 0;
  for (; *from != '\0' && *from != ' '; ++from) {
    const char c = *from;
    *number = *number << 4 | static_cast<std::uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  return *from == ' ' ? from + 1 : from;
}

}  // namespace torpor::agent
