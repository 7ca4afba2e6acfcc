#include "resource/pipe.h"

#include <poll.h>

#include "resource/descriptors_test_support.h"
#include "resource/pipe_content.h"

namespace torpor::resource {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

struct Pipe {
  explicit Pipe(int flags = 0) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | flags) != 0) base::throw_system("pipe2");
    read.reset(ends[0]);
    write.reset(ends[1]);
  }
  base::UniqueFd read;
  base::UniqueFd write;
};

void put(int fd, std::string_view text) {
  ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

std::string get(int fd, std::size_t most = 100000) {
  std::string text(most, '\0');
  const ssize_t got = ::read(fd, text.data(), text.size());
  if (got < 0) return fmt::format("error {}", errno);
  text.resize(static_cast<std::size_t>(got));
  return text;
}

// All of it, without waiting for more.
std::string drain(int fd) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  return read_all(fd);
}

TEST(PipeContent, IsSeenAndNotConsumed) {
  const Pipe pipe;
  put(pipe.write.get(), "one");
  put(pipe.write.get(), "two");
  const PipeContent content = look_into_pipe(pipe.read.get(), false);
  EXPECT_EQ(content.bytes, "onetwo");
  EXPECT_THAT(content.packets, IsEmpty());
  EXPECT_EQ(drain(pipe.read.get()), "onetwo");
  EXPECT_THAT(look_into_pipe(pipe.read.get(), false).bytes, IsEmpty());
}

TEST(PipeContent, IsSeenThroughTheWriteEnd) {
  const Pipe pipe;
  put(pipe.write.get(), "text");
  EXPECT_EQ(look_into_pipe(pipe.write.get(), false).bytes, "text");
  EXPECT_EQ(drain(pipe.read.get()), "text");
}

TEST(PipeContent, FullPipesOfAnySize) {
  for (const std::uint32_t size : {4096U, 65536U, 1U << 20}) {
    const Pipe pipe(O_NONBLOCK);
    ASSERT_TRUE(set_pipe_capacity(pipe.write.get(), size));
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 4096);
    put(pipe.write.get(), text);
    const PipeContent content = look_into_pipe(pipe.read.get(), false);
    EXPECT_EQ(content.bytes, text);

    const Pipe again;
    ASSERT_TRUE(set_pipe_capacity(again.write.get(), size));
    fill_pipe(again.write.get(), content);
    EXPECT_EQ(drain(again.read.get()), text);
  }
}

TEST(PipeContent, PartlyReadPipe) {
  const Pipe pipe;
  put(pipe.write.get(), std::string(5000, 'a') + std::string(3000, 'b'));
  ASSERT_THAT(get(pipe.read.get(), 4500), SizeIs(4500));
  EXPECT_EQ(look_into_pipe(pipe.read.get(), false).bytes,
            std::string(500, 'a') + std::string(3000, 'b'));
}

TEST(PipeContent, PacketsKeepTheirBounds) {
  const Pipe pipe(O_DIRECT);
  put(pipe.write.get(), "first");
  put(pipe.write.get(), std::string(4096, 'x'));
  put(pipe.write.get(), "z");
  const PipeContent content = look_into_pipe(pipe.read.get(), true);
  EXPECT_THAT(content.packets, ElementsAre(5, 4096, 1));

  const Pipe again;
  fill_pipe(again.write.get(), content);
  EXPECT_EQ(::fcntl(again.write.get(), F_GETFL), O_WRONLY) << "its own flags are back";
  EXPECT_EQ(get(again.read.get()), "first");
  EXPECT_EQ(get(again.read.get()), std::string(4096, 'x'));
  EXPECT_EQ(get(again.read.get()), "z");
}

TEST(PipeContent, PacketsOfAWriterThatIsGoneAreFound) {
  Pipe pipe(O_DIRECT);
  put(pipe.write.get(), "first");
  put(pipe.write.get(), "second");
  pipe.write.reset();
  EXPECT_THAT(look_into_pipe(pipe.read.get(), false).packets, ElementsAre(5, 6));
}

TEST(PipeKind, BothEndsComeBackWithContentAndCapacity) {
  const Pipe pipe(O_NONBLOCK);
  ASSERT_TRUE(set_pipe_capacity(pipe.write.get(), 8192));
  put(pipe.write.get(), "waiting");
  OwnDescriptors captured({pipe.read.get(), pipe.write.get()});
  EXPECT_EQ(captured.kind(), "pipe");
  EXPECT_FALSE(captured.check(0));
  captured.capture();
  ASSERT_EQ(captured.model.pipes_size(), 1);
  EXPECT_EQ(drain(pipe.read.get()), "waiting") << "consumed";

  Restored restored(captured.model);
  EXPECT_THAT(check_open_files(captured.model, restored.state), IsEmpty());
  restored.make();
  EXPECT_EQ(static_cast<unsigned>(::fcntl(restored.fd(1), F_GETFL)),
            captured.model.open_files(0).flags());
  EXPECT_EQ(static_cast<unsigned>(::fcntl(restored.fd(2), F_GETFL)),
            captured.model.open_files(1).flags());
  EXPECT_EQ(pipe_capacity(restored.fd(2)), 8192U);
  put(restored.fd(2), "+new");
  EXPECT_EQ(get(restored.fd(1)), "waiting+new");
  restored.state.pipes.clear();
  restored.state.open_files.erase(2);
  EXPECT_EQ(get(restored.fd(1)), "") << "end of file";
}

TEST(PipeKind, MoreDescriptionsOfOneEnd) {
  const Pipe pipe;
  const std::string path = fmt::format("/proc/self/fd/{}", pipe.read.get());
  const base::UniqueFd second = open_file(path, O_RDONLY | O_NONBLOCK);
  const base::UniqueFd both = open_file(path, O_RDWR);
  put(pipe.write.get(), "text");
  OwnDescriptors captured({pipe.read.get(), second.get(), both.get()});
  EXPECT_FALSE(captured.check(0)) << "the last is a write end too";
  captured.capture();
  ASSERT_EQ(captured.model.pipes_size(), 1);

  Restored restored(captured.model);
  restored.make();
  for (std::uint64_t id = 1; id <= 3; ++id) {
    EXPECT_EQ(static_cast<unsigned>(::fcntl(restored.fd(id), F_GETFL)),
              captured.model.open_files(static_cast<int>(id) - 1).flags());
  }
  restored.state.pipes.clear();
  put(restored.fd(3), "more");
  EXPECT_EQ(get(restored.fd(2)), "textmore");
}

TEST(PipeKind, ReadEndWithoutWriterIsEndOfFileAfterTheContent) {
  Pipe pipe;
  put(pipe.write.get(), "last");
  pipe.write.reset();
  OwnDescriptors captured({pipe.read.get()});
  EXPECT_FALSE(captured.check());
  captured.capture();
  Restored restored(captured.model);
  restored.make();
  restored.state.pipes.clear();
  EXPECT_EQ(get(restored.fd(1)), "last");
  EXPECT_EQ(get(restored.fd(1)), "");
  pollfd state{restored.fd(1), POLLIN, 0};
  ::poll(&state, 1, 0);
  EXPECT_EQ(state.revents, POLLHUP);
}

TEST(PipeKind, WriteEndWithoutReaderIsBroken) {
  Pipe pipe;
  pipe.read.reset();
  OwnDescriptors captured({pipe.write.get()});
  EXPECT_FALSE(captured.check());
  captured.capture();
  Restored restored(captured.model);
  restored.make();
  restored.state.pipes.clear();
  ::signal(SIGPIPE, SIG_IGN);
  EXPECT_EQ(::write(restored.fd(1), "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  ::signal(SIGPIPE, SIG_DFL);
}

TEST(PipeKind, EndThatIsOnlyOutsideIsRefused) {
  const Pipe pipe;
  OwnDescriptors captured({pipe.write.get()});
  ASSERT_TRUE(captured.check());
  EXPECT_THAT(captured.check()->reason, HasSubstr("the read end"));
  EXPECT_FALSE(captured.check()->certain);
  expect_error(base::ErrorCode::refused, "the read end", [&] { captured.capture(); });
}

TEST(PipeKind, NamedPipeComesBackByItsName) {
  const TestDirectory directory;
  const std::string path = directory / "fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  base::UniqueFd read = open_file(path, O_RDONLY | O_NONBLOCK);
  base::UniqueFd write = open_file(path, O_WRONLY);
  put(write.get(), "waiting");
  OwnDescriptors captured({read.get(), write.get()});
  captured.capture();
  read.reset();
  write.reset();

  Restored restored(captured.model);
  EXPECT_THAT(check_open_files(captured.model, restored.state), IsEmpty());
  restored.make();
  restored.state.pipes.clear();
  EXPECT_EQ(get(restored.fd(1)), "waiting");
  EXPECT_EQ(::fcntl(restored.fd(2), F_GETFL) & O_NONBLOCK, 0);
  const base::UniqueFd outside = open_file(path, O_WRONLY | O_NONBLOCK);
  put(outside.get(), "from outside");
  EXPECT_EQ(get(restored.fd(1)), "from outside");
}

TEST(PipeKind, ContentIsNotMixedWithThatOfOthers) {
  const TestDirectory directory;
  const std::string path = directory / "fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const base::UniqueFd fifo = open_file(path, O_RDWR | O_NONBLOCK);
  put(fifo.get(), "ours");
  OwnDescriptors captured({fifo.get()});
  captured.capture();
  Restored restored(captured.model);
  restored.make();  // it still holds what it held: nobody has closed it
  EXPECT_EQ(drain(restored.fd(1)), "ours");
  EXPECT_THAT(restored.state.warnings, ElementsAre(HasSubstr(path)));
}

TEST(PipeKind, MissingNamedPipeIsRefused) {
  const TestDirectory directory;
  const std::string path = directory / "fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const base::UniqueFd fifo = open_file(path, O_RDWR | O_NONBLOCK);
  OwnDescriptors captured({fifo.get()});
  captured.capture();
  ASSERT_EQ(::unlink(path.c_str()), 0);
  Restored restored(captured.model);
  EXPECT_THAT(check_open_files(captured.model, restored.state), SizeIs(1));
}

TEST(PipeKind, DeletedNamedPipeIsAsGoodAsAnother) {
  const TestDirectory directory;
  const std::string path = directory / "fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const base::UniqueFd fifo = open_file(path, O_RDWR | O_NONBLOCK);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  put(fifo.get(), "text");
  OwnDescriptors captured({fifo.get()});
  EXPECT_FALSE(captured.check());
  captured.capture();
  Restored restored(captured.model);
  restored.make();
  restored.state.pipes.clear();
  EXPECT_EQ(get(restored.fd(1)), "text");
}

TEST(PipeKind, ImpossibleContentIsABadImage) {
  snapshot::Computation model;
  snapshot::OpenFile& file = *model.add_open_files();
  file.set_id(1);
  file.mutable_pipe()->set_pipe(7);
  Restored restored(model);
  expect_error(base::ErrorCode::bad_image, "pipe 7", [&] { restored.make(); });
  snapshot::Pipe& pipe = *model.add_pipes();
  pipe.set_id(7);
  pipe.set_capacity(4096);
  pipe.set_content(std::string(5000, 'x'));
  expect_error(base::ErrorCode::bad_image, "pipe 7", [&] { restored.make(); });
  pipe.set_content("12345");
  pipe.add_packets(4);
  expect_error(base::ErrorCode::bad_image, "pipe 7", [&] { restored.make(); });
}

}  // namespace
}  // namespace torpor::resource
