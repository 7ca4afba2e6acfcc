#include "cli/inspect_sections.h"
#include "cli/output.h"
#include "cli/targets.h"
#include "cli/units.h"
#include "image/core_export.h"
#include "image/image_reader.h"
#include "image/store.h"

namespace torpor::cli {
namespace {

void print_summary(const image::Image& image, bool json) {
  const Table table = summary_table(image);
  if (json) {
    print_json(table.rows_as_json().front());
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    rows.push_back({table.columns[i].title, table.rows.front()[i].text});
  }
  print_line(align(rows));
}

int export_core(const image::Image& image, const InspectArguments& arguments) {
  const snapshot::Computation& computation = image.manifest().computation();
  const int pid = arguments.pid > 0 ? arguments.pid : computation.root_pid();
  const std::string to = arguments.output.empty() ? fmt::format("{}.core", pid) : arguments.output;
  if (std::filesystem::exists(to)) {
    throw base::Error(base::ErrorCode::conflict, fmt::format("{} exists already", to),
                      "remove it, or choose another file with --output");
  }
  image::export_core(image, pid, to);
  if (arguments.json) {
    print_json(Json::object().set("pid", pid).set("file", to));
  } else {
    print_line(to);
  }
  return 0;
}

}  // namespace

int inspect_command(const InspectArguments& arguments) {
  const image::Image image =
      image::Image::open(image::resolve(store_directory(arguments.directory), arguments.image));
  if (arguments.section == Section::core) return export_core(image, arguments);
  if (arguments.section == Section::summary) {
    print_summary(image, arguments.json);
    return 0;
  }
  const Table table = section_table(image, arguments.section, arguments.pid);
  if (arguments.json) {
    Json list = Json::array();
    for (Json& row : table.rows_as_json()) list.push(std::move(row));
    print_json(list);
  } else {
    print_line(align(table.rows_as_text()));
  }
  return 0;
}

}  // namespace torpor::cli
