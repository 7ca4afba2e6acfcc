// How an agent is reached whose socket we may not take (pidfd_getfd(2) is refused, or older than
// the kernel): it connects to one of ours. Its first message comes from the thread that brought it
// in, which is borrowed once more for that: it holds the other end of the agent's socket.
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "process/injection.h"
#include "process/proc_file.h"
#include "process/remote_memory.h"
#include "process/rendezvous.h"

namespace torpor::process {
namespace {

using agent::Call;
using agent::Context;
using Clock = std::chrono::steady_clock;

constexpr int kStepMs = 30000;
constexpr std::uint32_t kSerial = 0x63616c6c;

// All calls may fail: then the agent's socket is none, and it gives up.
struct FirstMessage {
  agent::MessageHeader header;
  std::array<std::byte, (sizeof(sockaddr_un) + 7) / 8 * 8> address;
  std::array<Call, 4> calls;
};
constexpr std::size_t kConnect = 1;

Call call_of(std::int64_t number, std::array<std::uint64_t, 3> arguments, std::uint32_t results) {
  Call call{};
  call.number = number;
  std::copy(arguments.begin(), arguments.end(), std::begin(call.args));
  call.from_result = results;
  call.may_fail = 1;
  return call;
}

FirstMessage first_message(const Rendezvous& rendezvous, base::RemotePtr payload, int own) {
  FirstMessage message{};
  message.header.count = static_cast<std::uint32_t>(message.calls.size());
  message.header.data_bytes = sizeof(message.address);
  message.header.serial = kSerial;
  std::memcpy(message.address.data(), &rendezvous.address(), rendezvous.address_bytes());
  message.calls = {call_of(SYS_socket, {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0}, 0),
                   call_of(SYS_connect, {0, payload.address(), rendezvous.address_bytes()}, 1),
                   call_of(agent::kSetSocket, {0, 0, 0}, 1),
                   call_of(SYS_close, {static_cast<std::uint64_t>(own), 0, 0}, 0)};
  return message;
}

[[noreturn]] void throw_unreachable(pid_t pid) {
  throw base::Error(base::ErrorCode::host_lacks,
                    fmt::format("process {}: the agent cannot reach torpor, and the host does not "
                                "let torpor take its socket",
                                pid),
                    "allow pidfd_getfd in the container's seccomp profile, or start torpor in the "
                    "network namespace of the program");
}

std::string network_of(pid_t pid) { return read_link(fmt::format("/proc/{}/ns/net", pid)); }

}  // namespace

// Stops the thread that brought the agent in, where it waits to be told to go on: it has read the
// numbers of the socket's ends by then, which the agent is about to change.
void InjectedAgent::stop_waiting_thread() {
  const auto deadline = Clock::now() + std::chrono::milliseconds(kStepMs);
  for (;;) {
    thread_->interrupt();
    if (!thread_->wait(kStepMs) || thread_->state() == Tracee::State::gone) {
      throw base::Error(base::ErrorCode::program_gone, fmt::format("process {} was killed", pid_));
    }
    if (thread_->registers().orig_rax == SYS_futex) return;
    thread_->resume();
    if (Clock::now() > deadline) {
      throw base::Error(base::ErrorCode::timeout,
                        fmt::format("process {}: the agent's bringer does not wait", pid_));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

// The detour, which knows one way back only, is lent for this one call. Should we be killed
// meanwhile, the thread goes back to where it waits in the agent, and home from there without the
// detour.
void InjectedAgent::send_by_thread(int socket, base::RemotePtr message, std::size_t bytes) {
  const base::RemotePtr way_back = context_word(offsetof(Context, way_back));
  write_value<std::uint64_t>(pid_, way_back, 0);
  stop_waiting_thread();
  const std::array<std::uint64_t, 6> arguments{
      static_cast<std::uint64_t>(socket), message.address(), bytes, MSG_NOSIGNAL, 0, 0};
  const std::int64_t sent = BorrowedThread(*thread_, detour_).call(SYS_sendto, arguments);
  borrowed_->set_unmap({area_.address(), area_bytes()});
  write_value<std::uint64_t>(pid_, way_back, detour_.back_entry().address());
  thread_->resume();
  if (sent < 0) {
    base::throw_errno(static_cast<int>(-sent),
                      fmt::format("process {}: cannot write to the agent", pid_));
  }
}

void InjectedAgent::expect_to_be_called() const {
  const base::RemotePtr message = context_word(offsetof(Context, message));
  const auto received = read_value<FirstMessage>(pid_, message);
  const std::int64_t connected = received.calls[kConnect].result;
  if (received.header.serial == kSerial && connected < 0) throw_unreachable(pid_);
}

void InjectedAgent::be_called(int own, int peer) {
  if (network_of(pid_) != network_of(::getpid())) throw_unreachable(pid_);
  Rendezvous rendezvous;
  const base::RemotePtr payload =
      context_word(offsetof(Context, message) + offsetof(agent::Message, payload));
  const FirstMessage message = first_message(rendezvous, payload, own);
  // Nobody needs that stack yet.
  const base::RemotePtr place = context_word(offsetof(Context, helper_stack));
  static_assert(sizeof(message) <= sizeof(Context::helper_stack));
  write_memory(pid_, place, std::as_bytes(std::span(&message, 1)));
  send_by_thread(peer, place, sizeof(message));
  base::UniqueFd socket = rendezvous.accept_from(thread_->pid(), kStepMs, [this] {
    look_after_traced_agent();
    expect_to_be_called();
  });
  client_.emplace(std::move(socket), pid_, context_word(0), area_);
  struct {
    agent::MessageHeader header;
    std::array<Call, std::tuple_size_v<decltype(message.calls)>> calls;
  } reply{};
  client_->receive(std::as_writable_bytes(std::span(&reply, 1)));
  client_->set_remote_socket(static_cast<int>(reply.calls[0].result));
}

}  // namespace torpor::process
