// pidfd_open(2) and pidfd_send_signal(2).
#pragma once

#include <csignal>

// glibc 2.36 forgets to say that its functions are C.
extern "C" {
#include <sys/pidfd.h>
}
