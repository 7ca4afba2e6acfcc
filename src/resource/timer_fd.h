// timerfd_create(2): a timer that is read.
//
// A timer is recorded by the time that was left of it when the program was stopped. It is armed in
// our own process, which is outside of the program's time namespace, so what counts is the time
// left: for the monotonic and the boot clock, whose values go on in the program from where they
// were, this is right for relative and absolute timers alike. An absolute timer of the wall clock
// is armed for the same wall clock time as before, and expires at once if that has passed.
//
// Not kept: that a TFD_TIMER_CANCEL_ON_SET timer has been cancelled and the ECANCELED was not read
// yet; the kernel shows it as one expiration.
#pragma once

#include <cstdint>
#include <memory>

#include "base/unique_fd.h"
#include "proto/snapshot.pb.h"

namespace torpor::resource {

class FileKind;

std::unique_ptr<FileKind> make_timer_fd_kind();

// The timer behind a descriptor of ours, as it is now. Nothing that a program could see changes:
// expirations that the kernel had not counted yet are, as a read would. Throws Error.
snapshot::TimerFd read_timer_fd(int fd);

// Turns a record into what it was `elapsed_ns` before: more time was left, and a periodic timer had
// expired less often. That a one-shot timer has expired meanwhile is not undone.
void move_back(snapshot::TimerFd& record, std::int64_t elapsed_ns);

// Turns a record into what it is `elapsed_ns` later.
void move_on(snapshot::TimerFd& record, std::int64_t elapsed_ns);

// A new timer in the recorded state, close-on-exec. `stopped_realtime_ns`: CLOCK_REALTIME when the
// record was true, 0 if unknown. Throws Error; permission for the alarm clocks (CAP_WAKE_ALARM).
// `stopped_clock_ns`: our time of the timer's clock at that moment, 0: now.
base::UniqueFd make_timer_fd(const snapshot::TimerFd& record, std::int64_t stopped_realtime_ns,
                             std::int64_t stopped_clock_ns = 0);

// Gives a timer the unread expirations of `record` without the ioctl for it, by arming it so that
// they lie in the past: it expires at once, and the kernel counts them itself. What make_timer_fd()
// does on kernels without CONFIG_CHECKPOINT_RESTORE. Throws Error.
void arm_in_the_past(int fd, const snapshot::TimerFd& record);

}  // namespace torpor::resource
