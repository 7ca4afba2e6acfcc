// Gives a husk the memory of its process.
#pragma once

#include <vector>

#include "base/progress.h"
#include "image/image_reader.h"
#include "process/held_process.h"
#include "resource/file_kind.h"
#include "restart/husk_setup.h"

namespace torpor::restart {

// Maps every area at its address, empty. `table`: the process's (Image::extents). Areas whose pages
// will be loaded can be written for now. Throws Error naming the area and its file.
void map_areas(process::HeldProcess& husk, const snapshot::Process& process,
               const image::ExtentTable& table, resource::RestoreState& state,
               const std::vector<ParkedArea>& parked);

// Reads the process's pages from the image, verifies them, and writes them into place, by `workers`
// threads: most of the time goes into the kernel's making of new pages.
void load_pages(process::HeldProcess& husk, const snapshot::Process& process,
                const image::Image& image, image::ExtentTable table, base::Progress& progress,
                unsigned workers);

// Final protections, advice, locks, guards, and the layout that /proc shows (brk, stack, exe ...).
// `keeps_program`: /proc/PID/exe must stay as it is. `warnings`: what this host did not allow and
// the program will hardly notice.
void finish_areas(process::HeldProcess& husk, const snapshot::Process& process, bool keeps_program,
                  std::vector<std::string>& warnings);

// Seals areas (mseal, Linux 6.10): nothing can be changed afterwards.
void seal_areas(process::HeldProcess& husk, const snapshot::Process& process);

}  // namespace torpor::restart
