#include "image/verify.h"

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/targets.h"
#include "cli/units.h"
#include "image/image_reader.h"
#include "image/store.h"

namespace torpor::cli {

int verify_command(const VerifyArguments& arguments) {
  const std::filesystem::path path =
      image::resolve(store_directory(arguments.directory), arguments.image);
  const image::Image image = image::Image::open(path);
  base::Progress progress;
  {
    const ProgressWatcher watcher("verifying", progress);
    image::verify(image, progress, image::VerifyDepth::everything);
  }
  std::uint64_t bytes = 0;
  for (const snapshot::ImageFile& file : image.manifest().files()) bytes += file.size();
  if (arguments.json) {
    Json json = Json::object();
    json.set("image", path.string()).set("sound", true);
    json.set("files", image.manifest().files_size()).set("bytes", bytes);
    print_json(json);
  } else {
    print_line(fmt::format("{}: sound ({} files, {})", path.string(), image.manifest().files_size(),
                           format_bytes(bytes)));
  }
  return 0;
}

}  // namespace torpor::cli
