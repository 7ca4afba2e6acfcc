#include "supervisor/control_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <asio/write.hpp>
#include <cerrno>
#include <chrono>

#include "base/error.h"
#include "base/unique_fd.h"
#include "supervisor/framing.h"
#include "supervisor/replies.h"

namespace torpor::supervisor {
namespace {

using Socket = asio::local::stream_protocol::socket;

constexpr unsigned max_clients = 64;
constexpr std::chrono::milliseconds progress_every{100};
// A client that says nothing is not waited for longer than this.
constexpr std::chrono::seconds patience{10};

bool is_allowed(Socket& socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         (peer.uid == ::geteuid() || peer.uid == 0);
}

// The client has gone, or has at least said that it will not say more.
bool has_hung_up(Socket& socket) {
  char byte = 0;
  const ssize_t got = ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

// Not opened by Asio, which lets programs that we start inherit its sockets.
asio::local::stream_protocol::acceptor listen_at(asio::io_context& io, const std::string& address) {
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) base::throw_system("cannot make a socket");
  ::fchmod(fd.get(), 0600);  // the mode of the file that bind() is about to make (unix(7))
  try {
    asio::local::stream_protocol::acceptor acceptor(io, asio::local::stream_protocol(), fd.get());
    [[maybe_unused]] const int owned_by_acceptor = fd.release();
    acceptor.bind(address);
    acceptor.listen();
    return acceptor;
  } catch (const std::system_error& error) {
    base::throw_errno(error.code().value(), "cannot listen on the control socket");
  }
}

// Closes the socket unless it is destroyed in time.
class Deadline {
 public:
  explicit Deadline(Socket& socket)
      : timer_(socket.get_executor(), patience), socket_(std::make_shared<Socket*>(&socket)) {
    timer_.async_wait([socket = std::weak_ptr(socket_)](const std::error_code&) {
      // Also called when the timer has been cancelled: then there is no socket any more.
      if (const auto still_there = socket.lock()) close(**still_there);
    });
  }

 private:
  static void close(Socket& socket) {
    std::error_code ignored;
    socket.close(ignored);
  }

  asio::steady_timer timer_;
  std::shared_ptr<Socket*> socket_;
};

// A checkpoint that nobody waits for any more is given up.
class CancelUnlessDone {
 public:
  explicit CancelUnlessDone(CheckpointJob& job) : job_(job) {}
  ~CancelUnlessDone() {
    if (!job_.done()) job_.cancel();
  }
  CancelUnlessDone(const CancelUnlessDone&) = delete;
  CancelUnlessDone& operator=(const CancelUnlessDone&) = delete;

 private:
  CheckpointJob& job_;
};

}  // namespace

ControlServer::ControlServer(asio::io_context& io, const std::string& address,
                             ControlHandlers handlers)
    : acceptor_(listen_at(io, address)), handlers_(std::move(handlers)) {}

void ControlServer::start() { asio::co_spawn(acceptor_.get_executor(), accept(), asio::detached); }

asio::awaitable<void> ControlServer::accept() {
  while (true) {
    std::error_code error;
    Socket socket =
        co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) co_return;
    if (error) {  // out of descriptors, for example: it may get better
      asio::steady_timer pause(acceptor_.get_executor(), progress_every);
      co_await pause.async_wait(asio::use_awaitable);
      continue;
    }
    ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
    if (serving_ >= max_clients || !is_allowed(socket)) continue;
    asio::co_spawn(acceptor_.get_executor(), serve(std::move(socket)), asio::detached);
  }
}

asio::awaitable<void> ControlServer::serve(Socket socket) {
  ++serving_;
  try {
    co_await answer(socket);
  } catch (const std::exception&) {
    // The client has gone or talks nonsense: that is its own affair.
  }
  std::error_code ignored;
  socket.close(ignored);
  if (--serving_ == 0 && on_idle_) on_idle_();
}

asio::awaitable<void> ControlServer::answer(Socket& socket) {
  const control::Request request = co_await receive(socket);
  control::Reply reply;
  try {
    if (request.has_checkpoint()) {
      co_await take_checkpoint(socket, request.checkpoint());
      co_return;
    }
    if (request.has_check()) {
      *reply.mutable_findings() = handlers_.check();
    } else if (request.has_status()) {
      *reply.mutable_status() = handlers_.status();
    } else {
      throw base::Error(base::ErrorCode::usage, "the supervisor does not know this request",
                        "use the same version of torpor on both sides");
    }
  } catch (const base::Error& error) {
    *reply.mutable_error() = to_message(error);
  }
  co_await send(socket, reply);
}

asio::awaitable<control::Request> ControlServer::receive(Socket& socket) {
  const Deadline deadline(socket);
  FrameReader reader;
  control::Request request;
  std::array<char, 1024> bytes{};
  while (!reader.next(request)) {
    const std::size_t got =
        co_await socket.async_read_some(asio::buffer(bytes), asio::use_awaitable);
    reader.feed({bytes.data(), got});
  }
  co_return request;
}

asio::awaitable<void> ControlServer::send(Socket& socket, const control::Reply& reply) {
  const Deadline deadline(socket);
  const std::string frame = encode_frame(reply);
  co_await asio::async_write(socket, asio::buffer(frame), asio::use_awaitable);
}

asio::awaitable<void> ControlServer::take_checkpoint(Socket& socket,
                                                     const control::CheckpointRequest& request) {
  const std::shared_ptr<CheckpointJob> job = handlers_.checkpoint(request);
  const CancelUnlessDone guard(*job);
  co_await job->wait(progress_every);
  while (!job->done()) {
    if (has_hung_up(socket)) co_return;
    control::Reply reply;
    *reply.mutable_progress() = job->progress();
    co_await send(socket, reply);
    co_await job->wait(progress_every);
  }
  co_await send(socket, job->reply());
}

}  // namespace torpor::supervisor
