#include "process/agent_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "process/descriptor_passing.h"

namespace torpor::process {
namespace {

constexpr int kIdleMs = 20;
constexpr int kPatienceMs = 30000;

std::size_t rounded(std::size_t bytes) { return (bytes + 7) / 8 * 8; }

[[noreturn]] void fail(pid_t pid, const std::string& purpose, std::int64_t result) {
  base::throw_errno(static_cast<int>(-result), fmt::format("process {}: cannot {}", pid, purpose));
}

}  // namespace

Batch::Batch(AgentClient& agent) : agent_(agent) {}

base::RemotePtr Batch::space(std::size_t bytes) {
  const std::size_t offset = data_.size();
  data_.resize(offset + rounded(bytes));
  return agent_.message_payload() + offset;
}

base::RemotePtr Batch::data(std::span<const std::byte> bytes) {
  const std::size_t offset = data_.size();
  const base::RemotePtr address = space(bytes.size());
  std::copy(bytes.begin(), bytes.end(), data_.begin() + static_cast<std::ptrdiff_t>(offset));
  return address;
}

std::size_t Batch::add(std::int64_t number, const std::vector<Argument>& arguments, bool may_fail) {
  agent::Call call{};
  call.number = number;
  call.may_fail = may_fail ? 1 : 0;
  for (std::size_t i = 0; i < arguments.size() && i < 6; ++i) {
    call.args[i] = arguments[i].value();
    if (arguments[i].is_result()) call.from_result |= 1U << i;
  }
  calls_.push_back(call);
  return calls_.size() - 1;
}

std::size_t Batch::call(std::int64_t number, std::vector<Argument> arguments, std::string what) {
  purposes_.resize(calls_.size() + 1);
  purposes_.back() = std::move(what);
  return add(number, arguments, false);
}

std::size_t Batch::try_call(std::int64_t number, std::vector<Argument> arguments) {
  return add(number, arguments, true);
}

bool Batch::fits(std::size_t more_calls, std::size_t more_data) const {
  return sizeof(agent::MessageHeader) + data_.size() + rounded(more_data) +
             (calls_.size() + more_calls) * sizeof(agent::Call) <=
         agent::kMessageSize;
}

void Batch::run() {
  start(false);
  finish();
}

void Batch::run_and_fetch() {
  start(true);
  finish();
}

void Batch::start(bool want_data) {
  want_data_ = want_data;
  if (!fits(0, 0)) {
    throw base::Error(base::ErrorCode::internal, "a batch of system calls is too large");
  }
  agent::MessageHeader header{};
  header.count = static_cast<std::uint32_t>(calls_.size());
  header.data_bytes = static_cast<std::uint32_t>(data_.size());
  header.want_data = want_data ? 1 : 0;
  std::vector<std::byte> message;
  message.reserve(sizeof(header) + data_.size() + calls_.size() * sizeof(agent::Call));
  const auto append = [&message](std::span<const std::byte> bytes) {
    message.insert(message.end(), bytes.begin(), bytes.end());
  };
  append(std::as_bytes(std::span(&header, 1)));
  append(data_);
  append(std::as_bytes(std::span(calls_)));
  agent_.send(message);
}

void Batch::finish() {
  const std::size_t data_bytes = want_data_ ? data_.size() : 0;
  std::vector<std::byte> reply(sizeof(agent::MessageHeader) + data_bytes +
                               calls_.size() * sizeof(agent::Call));
  const std::size_t got = agent_.receive(reply);
  if (got != reply.size()) {
    throw base::Error(base::ErrorCode::internal,
                      fmt::format("the agent in process {} gave a malformed reply", agent_.pid()));
  }
  const std::byte* cursor = reply.data() + sizeof(agent::MessageHeader);
  if (data_bytes != 0) std::memcpy(data_.data(), cursor, data_bytes);
  std::memcpy(calls_.data(), cursor + data_bytes, calls_.size() * sizeof(agent::Call));
  purposes_.resize(calls_.size());
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    const std::int64_t result = calls_[i].result;
    if (calls_[i].may_fail == 0 && result < 0 && result >= -4095) {
      fail(agent_.pid(), purposes_[i], result);
    }
  }
}

std::span<const std::byte> Batch::fetched(base::RemotePtr address, std::size_t bytes) const {
  const std::uint64_t offset = address.address() - agent_.message_payload().address();
  return std::span(data_).subspan(offset, bytes);
}

AgentClient::AgentClient(base::UniqueFd socket, pid_t pid, base::RemotePtr context,
                         base::RemotePtr code)
    : socket_(std::move(socket)), pid_(pid), context_(context), code_(code) {}

base::RemotePtr AgentClient::message_payload() const {
  return context_ + offsetof(agent::Context, message) + sizeof(agent::MessageHeader);
}

void AgentClient::moved_to(base::RemotePtr context, base::RemotePtr code) {
  context_ = context;
  code_ = code;
}

std::int64_t AgentClient::call(std::int64_t number, std::vector<Argument> arguments,
                               std::string what) {
  Batch batch(*this);
  batch.call(number, std::move(arguments), std::move(what));
  batch.run();
  return batch.result(0);
}

void AgentClient::send(std::span<const std::byte> message) const {
  if (::send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) {
    throw base::Error(base::ErrorCode::program_gone,
                      fmt::format("process {} ended while torpor worked in it", pid_));
  }
}

std::size_t AgentClient::receive(std::span<std::byte> into) const {
  pollfd wait{socket_.get(), POLLIN, 0};
  for (int waited = 0; ::poll(&wait, 1, kIdleMs) <= 0; waited += kIdleMs) {
    if (waited >= kPatienceMs) {
      throw base::Error(base::ErrorCode::timeout,
                        fmt::format("the agent in process {} does not answer", pid_));
    }
    if (idle_) idle_();
  }
  const ssize_t got = ::recv(socket_.get(), into.data(), into.size(), 0);
  if (got <= 0) {
    throw base::Error(base::ErrorCode::program_gone,
                      fmt::format("process {} ended while torpor worked in it", pid_));
  }
  return static_cast<std::size_t>(got);
}

void AgentClient::await_end() const {
  pollfd wait{socket_.get(), POLLIN, 0};
  constexpr int kMost = 5000;
  ::poll(&wait, 1, kMost);
}

base::UniqueFd AgentClient::take_fd(int fd) {
  Batch batch(*this);
  batch.call(SYS_sendmsg, {remote_socket_, remote_sender(batch, fd), MSG_NOSIGNAL},
             fmt::format("pass descriptor {}", fd));
  batch.start();
  base::UniqueFd taken = receive_descriptor(socket_.get(), idle_);
  if (!taken) {
    batch.finish();
    throw base::Error(base::ErrorCode::io,
                      fmt::format("process {}: descriptor {} could not be passed", pid_, fd));
  }
  batch.finish();
  return taken;
}

int AgentClient::give_fd_anywhere(int fd) {
  Batch batch(*this);
  const RemoteReceiver receiver = remote_receiver(batch);
  batch.call(SYS_recvmsg, {remote_socket_, receiver.header, MSG_CMSG_CLOEXEC},
             "receive a descriptor");
  batch.start(true);
  send_descriptor(socket_.get(), fd);
  batch.finish();
  return batch.fetched_value<int>(receiver.descriptor);
}

void AgentClient::give_fd(int fd, int number, bool close_on_exec) {
  const int got = give_fd_anywhere(fd);
  Batch batch(*this);
  if (got == number) {
    batch.call(SYS_fcntl, {number, F_SETFD, close_on_exec ? FD_CLOEXEC : 0},
               fmt::format("set the flags of descriptor {}", number));
  } else {
    batch.call(SYS_dup3, {got, number, close_on_exec ? O_CLOEXEC : 0},
               fmt::format("make descriptor {}", number));
    batch.call(SYS_close, {got}, "close a descriptor");
  }
  batch.run();
}

namespace {

constexpr std::size_t kFdsPerMessage = 200;  // SCM_MAX_FD is 253

}  // namespace

// Received descriptors take the lowest free numbers. Sorted by the number wanted, each lands on one
// that is not above it, so that they can be moved up from the last to the first without treading on
// each other.
void AgentClient::give_fds(std::vector<Gift> gifts) {
  std::sort(gifts.begin(), gifts.end(),
            [](const Gift& a, const Gift& b) { return a.number < b.number; });
  std::vector<int> landed;
  for (std::size_t first = 0; first < gifts.size(); first += kFdsPerMessage) {
    const std::size_t count = std::min(kFdsPerMessage, gifts.size() - first);
    std::vector<int> ours(count);
    for (std::size_t i = 0; i < count; ++i) ours[i] = gifts[first + i].fd;
    Batch batch(*this);
    const RemoteReceiver receiver = remote_receiver(batch, count);
    batch.call(SYS_recvmsg, {remote_socket_, receiver.header, 0}, "receive descriptors");
    batch.start(true);
    send_descriptors(socket_.get(), ours);
    batch.finish();
    const auto numbers = batch.fetched(receiver.descriptor, count * sizeof(int));
    landed.resize(first + count);
    std::memcpy(landed.data() + first, numbers.data(), numbers.size());
  }
  const auto wanted = [&gifts](int number) {
    return std::any_of(gifts.begin(), gifts.end(),
                       [number](const Gift& g) { return g.number == number; });
  };
  auto batch = std::make_unique<Batch>(*this);
  for (std::size_t i = gifts.size(); i-- > 0;) {
    if (!batch->fits(3, 0)) {
      batch->run();
      batch = std::make_unique<Batch>(*this);
    }
    const Gift& gift = gifts[i];
    if (landed[i] != gift.number) {
      batch->call(SYS_dup3, {landed[i], gift.number, gift.close_on_exec ? O_CLOEXEC : 0},
                  fmt::format("make descriptor {}", gift.number));
    } else if (gift.close_on_exec) {
      batch->call(SYS_fcntl, {gift.number, F_SETFD, FD_CLOEXEC}, "set close-on-exec");
    }
    if (landed[i] != gift.number && !wanted(landed[i])) {
      batch->call(SYS_close, {landed[i]}, "close a descriptor");
    }
  }
  batch->run();
}

}  // namespace torpor::process
