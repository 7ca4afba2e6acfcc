#include "cli/inspect_sections.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <map>

#include "base/error.h"
#include "cli/units.h"
#include "supervisor/exit_status.h"

namespace torpor::cli {
namespace {

using snapshot::Area;
using snapshot::OpenFile;
using snapshot::Process;

template <typename Int>
Cell number(Int value) {
  return {fmt::format("{}", value), value};
}
Cell text(const std::string& value) { return {value, value}; }
Cell bytes(std::uint64_t value) { return {format_bytes(value), value}; }
Cell address(std::uint64_t value) {
  const std::string hex = fmt::format("{:#x}", value);
  return {hex, hex};
}

std::string name_of(const Process& process) { return process.attributes().command_name(); }

std::uint64_t file_size(const snapshot::Manifest& manifest, const std::string& name) {
  for (const snapshot::ImageFile& file : manifest.files()) {
    if (file.name() == name) return file.size();
  }
  return 0;
}

std::string state_of(const Process& process) {
  switch (process.state()) {
    case Process::STOPPED: return "stopped";
    case Process::ZOMBIE: return supervisor::describe_end(process.exit_status());
    default: return "running";
  }
}

// ------------------------------------------------------------------------------- tree

// Indented by how many ancestors of a process are in the image; parents come first in it.
std::map<int, std::size_t> depths(const snapshot::Computation& computation) {
  std::map<int, std::size_t> depths;
  for (const Process& process : computation.processes()) {
    const auto parent = depths.find(process.parent());
    depths[process.pid()] = parent == depths.end() ? 0 : parent->second + 1;
  }
  return depths;
}

Table tree(const snapshot::Manifest& manifest, const std::vector<const Process*>& processes) {
  Table table{{{"PROCESS", "name"},
               {"PID", "pid"},
               {"PARENT", "parent"},
               {"GROUP", "group"},
               {"SESSION", "session"},
               {"THREADS", "threads"},
               {"MEMORY", "memory_bytes"},
               {"STATE", "state"},
               {"EXECUTABLE", "executable"}},
              {}};
  const std::map<int, std::size_t> depth = depths(manifest.computation());
  for (const Process* process : processes) {
    table.rows.push_back(
        {{std::string(2 * depth.at(process->pid()), ' ') + name_of(*process), name_of(*process)},
         number(process->pid()),
         number(process->parent()),
         number(process->group()),
         number(process->session()),
         number(process->threads_size()),
         bytes(file_size(manifest, process->memory_file())),
         text(state_of(*process)),
         text(process->layout().executable())});
  }
  return table;
}

// ------------------------------------------------------------------------------- files

std::string kind_of(const OpenFile& file) {
  switch (file.kind_case()) {
    case OpenFile::kRegular: return "file";
    case OpenFile::kSavedFile: return "deleted file";
    case OpenFile::kDirectory: return "directory";
    case OpenFile::kDevice: return "device";
    case OpenFile::kPipe: return "pipe";
    case OpenFile::kSocket: return "socket";
    case OpenFile::kEvent: return "eventfd";
    case OpenFile::kEpoll: return "epoll";
    case OpenFile::kTimer: return "timerfd";
    case OpenFile::kSignal: return "signalfd";
    case OpenFile::kSharedMemory: return "memfd";
    case OpenFile::kStandard: return "standard stream";
    case OpenFile::kPid: return "pidfd";
    case OpenFile::kProc: return "proc file";
    default: return "unknown";
  }
}

std::string name_of(const OpenFile& file) {
  switch (file.kind_case()) {
    case OpenFile::kPipe: return fmt::format("pipe {}", file.pipe().pipe());
    case OpenFile::kSocket:
      return fmt::format("pair {}, side {}", file.socket().pair(), file.socket().side());
    case OpenFile::kStandard: return file.standard().was();
    case OpenFile::kPid: return fmt::format("process {}", file.pid().pid());
    default: return file.path();
  }
}

std::string mode_of(const OpenFile& file) {
  switch (file.flags() & O_ACCMODE) {
    case O_RDONLY: return "r";
    case O_WRONLY: return "w";
    default: return "rw";
  }
}

Table files(const snapshot::Manifest& manifest, const std::vector<const Process*>& processes) {
  Table table{{{"PID", "pid"},
               {"FD", "fd"},
               {"KIND", "kind"},
               {"MODE", "mode"},
               {"POSITION", "position"},
               {"DESCRIPTION", "description"},
               {"NAME", "name"}},
              {}};
  std::map<std::uint64_t, const OpenFile*> open_files;
  for (const OpenFile& file : manifest.computation().open_files()) open_files[file.id()] = &file;
  for (const Process* process : processes) {
    for (const snapshot::Descriptor& descriptor : process->descriptors()) {
      const auto found = open_files.find(descriptor.open_file());
      const OpenFile& file =
          found == open_files.end() ? OpenFile::default_instance() : *found->second;
      table.rows.push_back({number(process->pid()), number(descriptor.number()),
                            text(kind_of(file)), text(mode_of(file)), number(file.position()),
                            number(descriptor.open_file()), text(name_of(file))});
    }
  }
  return table;
}

// ------------------------------------------------------------------------------- memory

std::string kind_of(const Area& area) {
  switch (area.kind()) {
    case Area::ANONYMOUS: return "anonymous";
    case Area::FILE: return "file";
    case Area::SHARED_MEMORY: return "shared memory";
    case Area::SAVED_FILE: return "deleted file";
    case Area::VDSO: return "vdso";
    case Area::DEVICE: return "device";
    default: return "vvar";
  }
}

std::string protection_of(const Area& area) {
  std::string letters;
  letters += (area.protection() & PROT_READ) != 0 ? 'r' : '-';
  letters += (area.protection() & PROT_WRITE) != 0 ? 'w' : '-';
  letters += (area.protection() & PROT_EXEC) != 0 ? 'x' : '-';
  return letters + (area.shared() ? 's' : 'p');
}

// How much of each area has its own pages in the image.
std::uint64_t stored_in(const image::ExtentTable& extents, const Area& area) {
  std::uint64_t stored = 0;
  for (const image::PageExtent& extent : extents.extents) {
    if (extent.vaddr >= area.start() && extent.vaddr < area.end()) stored += extent.size();
  }
  return stored;
}

Table memory(const image::Image& image, const std::vector<const Process*>& processes) {
  Table table{{{"PID", "pid"},
               {"START", "start"},
               {"END", "end"},
               {"SIZE", "size"},
               {"STORED", "stored"},
               {"PROT", "protection"},
               {"KIND", "kind"},
               {"PATH", "path"}},
              {}};
  for (const Process* process : processes) {
    const image::ExtentTable extents = image.extents(*process);
    for (const Area& area : process->areas()) {
      table.rows.push_back({number(process->pid()), address(area.start()), address(area.end()),
                            bytes(area.end() - area.start()), bytes(stored_in(extents, area)),
                            text(protection_of(area)), text(kind_of(area)), text(area.path())});
    }
  }
  return table;
}

// ------------------------------------------------------------------------------- threads

Table threads(const std::vector<const Process*>& processes) {
  Table table{{{"PID", "pid"},
               {"TID", "tid"},
               {"NAME", "name"},
               {"STATE", "state"},
               {"SIGNAL MASK", "signal_mask"},
               {"PENDING", "pending_signals"},
               {"NICE", "nice"},
               {"IN CALL", "interrupted_call"}},
              {}};
  for (const Process* process : processes) {
    for (const snapshot::Thread& thread : process->threads()) {
      const std::int64_t call =
          thread.has_interrupted_call() ? thread.interrupted_call().number() : -1;
      table.rows.push_back({number(process->pid()), number(thread.tid()), text(thread.name()),
                            text(thread.dead() ? "ended" : "alive"),
                            text(fmt::format("{:016x}", thread.signal_mask())),
                            number(thread.pending_size()), number(thread.scheduling().nice()),
                            call < 0 ? Cell{"-", Json()} : number(call)});
    }
  }
  return table;
}

std::vector<const Process*> selected(const snapshot::Computation& computation, int pid) {
  std::vector<const Process*> processes;
  for (const Process& process : computation.processes()) {
    if (pid == 0 || process.pid() == pid) processes.push_back(&process);
  }
  if (!processes.empty()) return processes;
  throw base::Error(base::ErrorCode::not_found, fmt::format("the image has no process {}", pid),
                    "`torpor inspect IMAGE tree` shows those that it has");
}

}  // namespace

std::vector<std::vector<std::string>> Table::rows_as_text() const {
  std::vector<std::vector<std::string>> lines(1);
  for (const Column& column : columns) lines.front().push_back(column.title);
  for (const std::vector<Cell>& row : rows) {
    std::vector<std::string>& line = lines.emplace_back();
    for (const Cell& cell : row) line.push_back(cell.text);
  }
  return lines;
}

std::vector<Json> Table::rows_as_json() const {
  std::vector<Json> objects;
  for (const std::vector<Cell>& row : rows) {
    Json object = Json::object();
    for (std::size_t i = 0; i < columns.size(); ++i) object.set(columns[i].key, row[i].json);
    objects.push_back(std::move(object));
  }
  return objects;
}

Table summary_table(const image::Image& image) {
  const snapshot::Manifest& manifest = image.manifest();
  const snapshot::Computation& computation = manifest.computation();
  std::uint64_t size = 0;
  for (const snapshot::ImageFile& file : manifest.files()) size += file.size();
  int threads = 0;
  for (const Process& process : computation.processes()) threads += process.threads_size();
  const snapshot::Host& host = manifest.host();
  Table table;
  std::vector<Cell>& row = table.rows.emplace_back();
  const auto add = [&](const char* title, const char* key, Cell cell) {
    table.columns.push_back({title, key});
    row.push_back(std::move(cell));
  };
  add("name", "name", text(manifest.name()));
  add("generation", "generation", number(manifest.generation()));
  add("created", "created_ns", {format_time(manifest.created_ns()), manifest.created_ns()});
  add("path", "path", text(image.path().string()));
  add("size", "bytes", bytes(size));
  add("files", "files", number(manifest.files_size()));
  add("root", "root_pid", number(computation.root_pid()));
  add("processes", "processes", number(computation.processes_size()));
  add("threads", "threads", number(threads));
  add("open files", "open_files", number(computation.open_files_size()));
  add("terminal", "terminal",
      {computation.has_terminal() ? "yes" : "no", computation.has_terminal()});
  add("user", "uid", number(computation.uid()));
  add("host", "host", text(host.hostname()));
  add("kernel", "kernel", text(host.kernel_release()));
  add("cpu", "cpu", text(host.cpu_model()));
  add("torpor", "torpor_version", text(manifest.torpor_version()));
  add("format", "format_version", number(manifest.format_version()));
  return table;
}

Table section_table(const image::Image& image, Section section, int pid) {
  const snapshot::Manifest& manifest = image.manifest();
  const std::vector<const Process*> processes = selected(manifest.computation(), pid);
  switch (section) {
    case Section::tree: return tree(manifest, processes);
    case Section::files: return files(manifest, processes);
    case Section::memory: return memory(image, processes);
    case Section::threads: return threads(processes);
    default: return summary_table(image);
  }
}

}  // namespace torpor::cli
