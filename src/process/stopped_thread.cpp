#include "process/stopped_thread.h"

namespace torpor::process {

base::RemotePtr StoppedThread::scratch() const {
  constexpr std::uint64_t kRedZone = 128;
  constexpr std::uint64_t kBytes = 16;
  return base::RemotePtr((registers().rsp - kRedZone - kBytes) & ~std::uint64_t{15});
}

}  // namespace torpor::process
