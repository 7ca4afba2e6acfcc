#include "resource/unsupported_file.h"

#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace torpor::resource {
namespace {

struct Reason {
  std::string_view target;  // how the link starts
  Refusal refusal;
};

const Refusal& by_target(const FileView& view) {
  static const std::vector<Reason> kReasons{
      {"anon_inode:inotify",
       {"inotify watches cannot be saved yet", "let the program close it before, or poll instead"}},
      {"anon_inode:[fanotify]", {"fanotify groups cannot be saved", "let the program close it"}},
      {"anon_inode:[io_uring]",
       {"io_uring rings cannot be saved yet",
        "make the program use epoll or threads instead (many have an option for it)"}},
      {"anon_inode:[userfaultfd]", {"userfaultfd cannot be saved", "let the program close it"}},
      {"anon_inode:[perf_event]", {"perf counters cannot be saved", "run it without profiling"}},
      {"anon_inode:bpf",
       {"BPF objects live in the kernel and cannot be saved", "close them before"}},
      {"anon_inode:seccomp", {"a seccomp listener cannot be saved", "close it before"}},
      {"anon_inode:[landlock-ruleset]", {"Landlock rule sets cannot be saved", "close it before"}},
      {"anon_inode:kvm", {"a KVM machine cannot be saved", "save it with its own means"}},
      {"mnt:[", {"descriptors of namespaces cannot be saved yet", "close it before"}},
      {"net:[", {"descriptors of namespaces cannot be saved yet", "close it before"}},
      {"user:[", {"descriptors of namespaces cannot be saved yet", "close it before"}},
      {"pid:[", {"descriptors of namespaces cannot be saved yet", "close it before"}},
      {"/secretmem", {"secret memory cannot be saved yet", "close it before"}},
      {"/dev/fuse", {"a FUSE file system served by the program cannot be saved", "unmount it"}},
      {"/dev/net/tun", {"network devices cannot be saved", "close it before"}},
  };
  static const Refusal kUnknown{"files of this kind cannot be saved",
                                "let the program close it before"};
  for (const Reason& reason : kReasons) {
    if (view.target.starts_with(reason.target)) return reason.refusal;
  }
  return kUnknown;
}

const char* family_name(int family) {
  switch (family) {
    case AF_UNIX: return "UNIX";
    case AF_INET: return "IPv4";
    case AF_INET6: return "IPv6";
    case AF_NETLINK: return "netlink";
    case AF_PACKET: return "packet";
    case AF_VSOCK: return "vsock";
    case AF_ALG: return "crypto (AF_ALG)";
    default: return nullptr;
  }
}

const char* type_name(int type) {
  switch (type) {
    case SOCK_STREAM: return "stream";
    case SOCK_DGRAM: return "datagram";
    case SOCK_SEQPACKET: return "seqpacket";
    case SOCK_RAW: return "raw";
    default: return "special";
  }
}

int option(int socket, int name) {
  int value = 0;
  socklen_t length = sizeof(value);
  return ::getsockopt(socket, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

// The socket's family is asked of the socket itself, if we may take it.
Refusal about_socket(const FileView& view) {
  std::string what = "sockets of this family";
  try {
    const base::UniqueFd taken = view.take();
    const char* family = family_name(option(taken.get(), SO_DOMAIN));
    if (view.still_there(taken) && family != nullptr) {
      what = fmt::format("{} {} sockets", family, type_name(option(taken.get(), SO_TYPE)));
    }
  } catch (const base::Error&) {  // it stays unnamed
  }
  return {what + " of this kind cannot be saved yet",
          "close the connection before the checkpoint, let the program open it again after it"};
}

Refusal reason_for(const FileView& view) {
  if (S_ISSOCK(view.status.st_mode)) return about_socket(view);
  if (view.info.io_uring) return {"io_uring rings cannot be saved yet", "use epoll or threads"};
  if (S_ISBLK(view.status.st_mode)) {
    return {"block devices cannot be saved", "let the program close it before"};
  }
  const Refusal& known = by_target(view);
  if (S_ISCHR(view.status.st_mode) && view.target.starts_with("/dev/") &&
      known.reason.starts_with("files of")) {
    return {fmt::format("the device {}:{} keeps a state that only the kernel knows",
                        gnu_dev_major(view.status.st_rdev), gnu_dev_minor(view.status.st_rdev)),
            "let the program close it before"};
  }
  return known;
}

class UnsupportedKind : public FileKind {
 public:
  [[nodiscard]] const char* name() const override { return "unsupported file"; }

  [[nodiscard]] bool matches(const FileView&, const CaptureState&) const override { return true; }

  [[nodiscard]] std::optional<Refusal> check(const FileView& view,
                                             const CaptureState&) const override {
    return reason_for(view);
  }

  void capture(const FileView& view, CaptureState&, snapshot::OpenFile&) const override {
    refuse(view, reason_for(view));
  }

  [[nodiscard]] bool made(const snapshot::OpenFile&) const override { return false; }

  base::UniqueFd restore(const snapshot::OpenFile& file, RestoreState&) const override {
    throw base::Error(base::ErrorCode::internal,
                      fmt::format("open file {} was made by no kind", file.id()));
  }
};

}  // namespace

std::unique_ptr<FileKind> make_unsupported_kind() { return std::make_unique<UnsupportedKind>(); }

}  // namespace torpor::resource
