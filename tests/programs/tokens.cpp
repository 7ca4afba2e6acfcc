// A thousand threads in a ring pass tokens to each other: nearly all of them are always blocked in
// a futex, half of them by way of a condition variable, half by way of a semaphore. No token may be
// lost, doubled or overtaken.
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <semaphore>
#include <thread>
#include <vector>

#include "check.h"

namespace {

struct Token {
  static constexpr int kLast = -1;  // tells every thread to pass it on and end
  int id;
  std::uint64_t hops;
};

// The place between two threads.
class Link {
 public:
  virtual ~Link() = default;
  virtual void put(Token token) = 0;
  virtual Token take() = 0;
};

class ConditionLink : public Link {
 public:
  void put(Token token) override {
    {
      std::scoped_lock lock(mutex_);
      tokens_.push_back(token);
    }
    filled_.notify_one();
  }

  Token take() override {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [this] { return !tokens_.empty(); });
    Token token = tokens_.front();
    tokens_.pop_front();
    return token;
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<Token> tokens_;
};

class SemaphoreLink : public Link {
 public:
  void put(Token token) override {
    {
      std::scoped_lock lock(mutex_);
      tokens_.push_back(token);
    }
    count_.release();
  }

  Token take() override {
    count_.acquire();
    std::scoped_lock lock(mutex_);
    CHECK(!tokens_.empty(), "expected a token behind the semaphore, saw none");
    Token token = tokens_.front();
    tokens_.pop_front();
    return token;
  }

 private:
  std::mutex mutex_;
  std::counting_semaphore<> count_{0};
  std::deque<Token> tokens_;
};

using Ring = std::vector<std::unique_ptr<Link>>;

// Thread `place` takes from link `place` and gives to the next one.
void pass_on(Ring& ring, std::size_t place, int tokens) {
  const std::size_t size = ring.size();
  int previous = -1;
  for (;;) {
    Token token = ring[place]->take();
    ++token.hops;
    ring[(place + 1) % size]->put(token);
    if (token.id == Token::kLast) return;
    CHECK_EQ(token.hops % size, place);
    // Tokens enter in the order of their ids and may never overtake each other.
    if (previous >= 0) CHECK_EQ(token.id, (previous + 1) % tokens);
    previous = token.id;
  }
}

// Place 0 counts the laps and takes the tokens out when the time is over.
std::uint64_t keep_going(Ring& ring, int tokens, long long end) {
  std::vector<std::uint64_t> hops(static_cast<std::size_t>(tokens), 0);
  for (int expected = 0, out = 0; out < tokens; expected = (expected + 1) % tokens) {
    Token token = ring[0]->take();
    CHECK_EQ(token.id, expected);
    auto& seen = hops[static_cast<std::size_t>(token.id)];
    seen += ring.size();
    CHECK_EQ(token.hops, seen - 1);
    ++token.hops;
    // From the first one on that finds the time over, all are taken out, in order.
    if (out > 0 || (token.id == 0 && now_ns() >= end))
      ++out;
    else
      ring[1]->put(token);
  }
  for (auto seen : hops) CHECK_EQ(seen, hops[0]);
  return hops[0];
}

}  // namespace

int main(int argc, char** argv) {
  const auto threads = static_cast<std::size_t>(option(argc, argv, "--threads", 1000));
  const int tokens = static_cast<int>(option(argc, argv, "--tokens", 16));
  CHECK(threads >= 2 && tokens >= 1, "expected --threads of 2 or more and --tokens of 1 or more");

  Ring ring;
  for (std::size_t i = 0; i < threads; ++i)
    if (i % 2)
      ring.push_back(std::make_unique<SemaphoreLink>());
    else
      ring.push_back(std::make_unique<ConditionLink>());
  std::vector<std::thread> pool;
  for (std::size_t i = 1; i < threads; ++i) pool.emplace_back(pass_on, std::ref(ring), i, tokens);
  say("ready");

  const long long end = end_time(argc, argv);
  for (int id = 0; id < tokens; ++id) ring[1]->put({id, 0});
  const auto hops = keep_going(ring, tokens, end);
  CHECK(hops % threads == 0 && hops > 0, "expected whole laps, saw %llu hops",
        static_cast<unsigned long long>(hops));
  ring[1]->put({Token::kLast, 0});
  for (auto& thread : pool) thread.join();
  CHECK_EQ(ring[0]->take().hops, threads - 1);
  say("ok");
}
