#include "image/core_writer.h"

#include <utility>

#include "image/checksum.h"
#include "image/core_elf.h"
#include "image/core_notes.h"
#include "image/data_file.h"
#include "image/extents.h"
#include "image/file_io.h"
#include "image/page_store.h"
#include "image/parallel.h"

namespace torpor::image {

using snapshot::Process;

namespace {

std::string core_name_of(const Process& process) {
  return process.memory_file().empty() ? core_name(process.pid()) : process.memory_file();
}

std::string extents_name_of(const Process& process) {
  return process.extents_file().empty() ? extents_name(process.pid()) : process.extents_file();
}

// Turns pages into a core: notes and program headers behind them, the ELF header in front.
WrittenFile clothe(DataFile& file, const Process& process, ExtentTable& table) {
  const std::uint64_t end_of_pages = file.claimed();
  const Trailer trailer = make_trailer(process, segments_of(process, table.extents),
                                       core_notes(process, mapped_files(process)), end_of_pages);
  table.header_checksum = checksum(trailer.first_page);
  file.end_pages();
  file.write_bytes(end_of_pages, trailer.bytes);
  file.write_bytes(0, trailer.first_page);
  return std::move(file).finish(end_of_pages + trailer.bytes.size(), checksum(trailer.bytes),
                                end_of_pages);
}

WrittenFile write_table(int directory_fd, const std::string& name, const ExtentTable& table,
                        const WriteOptions& options) {
  const std::vector<std::byte> bytes = encode_extents(table);
  DataFile file(directory_fd, name, 0, options);
  file.end_pages();
  file.write_bytes(0, bytes);
  return std::move(file).finish(bytes.size(), checksum(bytes), 0);
}

}  // namespace

std::string core_name(std::int32_t pid) { return fmt::format("{}.core", pid); }
std::string extents_name(std::int32_t pid) { return fmt::format("{}.extents", pid); }

CoreFile write_core(const Process& process, const SourceOfArea& source_of, int directory_fd,
                    base::Progress& progress, const WriteOptions& options) {
  const FileSizeSignalGuard guard;
  const CorePlan plan = plan_core(process, source_of);
  progress.bytes_total += plan.bytes;

  DataFile file(directory_fd, core_name_of(process), base::page_size + plan.bytes, options);
  file.claim(base::page_size);  // the ELF header's
  const unsigned workers = options.workers != 0 ? options.workers : default_workers();
  ExtentTable table{.extents = store_pages(plan, file, workers, progress)};

  CoreFile core;
  core.pages = (file.claimed() - base::page_size) / base::page_size;
  core.core = clothe(file, process, table);
  core.extents = write_table(directory_fd, extents_name_of(process), table, options);
  return core;
}

CoreFile write_core(const Process& process, base::PageSource& source, int directory_fd,
                    base::Progress& progress, const WriteOptions& options) {
  const SourceOfArea always = [&source](const snapshot::Area&) -> base::PageSource& {
    return source;
  };
  return write_core(process, always, directory_fd, progress, options);
}

}  // namespace torpor::image
