// What this host is, as far as an image depends on it.
#pragma once

#include "proto/snapshot.pb.h"

namespace torpor::resource {

snapshot::Host host_facts();

}  // namespace torpor::resource
