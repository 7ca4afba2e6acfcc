// What `torpor inspect` shows of an image, as tables that are either printed or given out as JSON.
#pragma once

#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/json.h"
#include "image/image_reader.h"

namespace torpor::cli {

struct Column {
  std::string title;  // for people
  std::string key;    // in JSON
};

struct Cell {
  std::string text;
  Json json;
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // each as long as columns

  [[nodiscard]] std::vector<std::vector<std::string>> rows_as_text() const;  // with the titles
  [[nodiscard]] std::vector<Json> rows_as_json() const;                      // objects
};

// One row.
Table summary_table(const image::Image& image);

// `pid`: only of this process; 0: of all. Throws Error not_found if the image has no such process.
Table section_table(const image::Image& image, Section section, int pid);

}  // namespace torpor::cli
