// The extended registers (x87, SSE, AVX, AMX ...) in their two outer forms.
#pragma once

#include <cstddef>
#include <vector>

#include "base/remote_ptr.h"
#include "process/stopped_thread.h"

namespace torpor::process {

// Those that the kernel has saved beside a signal frame at `place` of thread `tid`, in the form in
// which ptrace shows them (NT_X86_XSTATE): the standard format of XSAVE, of the size of all that
// this host has in use. struct _fpx_sw_bytes, arch/x86/include/uapi/asm/sigcontext.h.
std::vector<std::byte> extended_registers_at(pid_t tid, base::RemotePtr place);

}  // namespace torpor::process
