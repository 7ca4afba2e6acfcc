// resident.S and resident.lds cannot see the structs; this file refuses to compile when they
// disagree.
#include "agent/arch/x86_64/offsets.h"
#include "agent/resident/id_table.h"
#include "agent/resident/resident_abi.h"

namespace torpor::agent {

static_assert(sizeof(Resident) == RESIDENT_BYTES);
static_assert(kResidentData == 0x7e9100040000);
static_assert(kClockStub == CLOCK_STUB && kClockStub >= kResidentBase + kResidentBytes);
static_assert(kRoomAddress >= kClockStub + kPage);
static_assert(kOwnFiltersAddress + sizeof(OwnFilters) <= kRoomAddress);
static_assert(kIdTableAddress + offsetof(IdTable, clocks) == CLOCK_OFFSETS);
static_assert(kIdTableAddress + kIdTableBytes <= kResidentBase + kResidentSpan);
static_assert(sizeof(ResidentProcess) <= kPage);

}  // namespace torpor::agent
