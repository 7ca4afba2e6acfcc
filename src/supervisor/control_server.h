// The side of a control socket that answers.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proto/control.pb.h"
#include "supervisor/asio.h"
#include "supervisor/checkpoint_job.h"

namespace torpor::supervisor {

// What the server asks of its supervisor. All may throw base::Error, which goes to the client.
struct ControlHandlers {
  std::function<control::Findings()> check;
  std::function<control::Status()> status;
  std::function<std::shared_ptr<CheckpointJob>(const control::CheckpointRequest&)> checkpoint;
};

class ControlServer {
 public:
  // Listens at the address of a socket (mode 0600), which must not exist. Throws base::Error.
  ControlServer(asio::io_context& io, const std::string& address, ControlHandlers handlers);

  // Clients of our own user and of root are served, each in its own time; others are turned away.
  void start();
  // How many are being served. `on_idle` is called whenever that has come down to none.
  [[nodiscard]] unsigned serving() const { return serving_; }
  void set_on_idle(std::function<void()> on_idle) { on_idle_ = std::move(on_idle); }

 private:
  using Socket = asio::local::stream_protocol::socket;

  asio::awaitable<void> accept();
  asio::awaitable<void> serve(Socket socket);
  asio::awaitable<void> answer(Socket& socket);
  asio::awaitable<control::Request> receive(Socket& socket);
  asio::awaitable<void> send(Socket& socket, const control::Reply& reply);
  asio::awaitable<void> take_checkpoint(Socket& socket, const control::CheckpointRequest& request);

  asio::local::stream_protocol::acceptor acceptor_;
  ControlHandlers handlers_;
  std::function<void()> on_idle_;
  unsigned serving_ = 0;
};

}  // namespace torpor::supervisor
