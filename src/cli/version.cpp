#include "cli/commands.h"
#include "cli/output.h"
#include "image/manifest_io.h"

namespace torpor::cli {

int version_command(const VersionArguments& arguments) {
  if (arguments.json) {
    Json json = Json::object();
    json.set("version", TORPOR_VERSION).set("image_format", image::format_version);
    print_json(json);
  } else {
    print_line(fmt::format("torpor {} (image format {})", TORPOR_VERSION, image::format_version));
  }
  return 0;
}

}  // namespace torpor::cli
