#include <algorithm>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/targets.h"
#include "image/image_reader.h"
#include "image/store.h"

namespace torpor::cli {
namespace {

struct Pruned {
  std::string name;
  std::vector<std::uint64_t> generations;
  std::size_t leftovers = 0;
};

bool is_sound(const std::filesystem::path& path) {
  try {
    image::Image::open(path);
    return true;
  } catch (const base::Error&) {
    return false;
  }
}

// What keep_latest() would remove, if nothing of it is in use.
std::vector<std::uint64_t> to_be_removed(const image::Store& store, unsigned keep) {
  std::vector<std::uint64_t> generations = store.generations();
  std::size_t sound = 0;
  while (!generations.empty() && sound < keep) {
    if (is_sound(store.path_of(generations.back()))) ++sound;
    generations.pop_back();
  }
  return generations;
}

Pruned prune(const std::filesystem::path& directory, const std::string& name,
             const PruneArguments& arguments) {
  image::Store store(directory, name);
  if (arguments.dry_run) return {name, to_be_removed(store, arguments.keep)};
  Pruned pruned{name, store.keep_latest(arguments.keep)};
  std::ranges::sort(pruned.generations);
  pruned.leftovers = store.remove_leftovers();
  return pruned;
}

void print(const std::vector<Pruned>& all, bool dry_run) {
  for (const Pruned& pruned : all) {
    for (const std::uint64_t generation : pruned.generations) {
      print_line(
          fmt::format("{} {}@{}", dry_run ? "would remove" : "removed", pruned.name, generation));
    }
    if (pruned.leftovers > 0) {
      print_line(fmt::format("removed {} unfinished of {}", pruned.leftovers, pruned.name));
    }
  }
}

void print_as_json(const std::vector<Pruned>& all, bool dry_run) {
  Json list = Json::array();
  for (const Pruned& pruned : all) {
    Json generations = Json::array();
    for (const std::uint64_t generation : pruned.generations) generations.push(generation);
    Json entry = Json::object();
    entry.set("name", pruned.name).set("generations", std::move(generations));
    entry.set("unfinished", pruned.leftovers);
    list.push(std::move(entry));
  }
  print_json(Json::object().set("dry_run", dry_run).set("removed", std::move(list)));
}

}  // namespace

int prune_command(const PruneArguments& arguments) {
  const std::filesystem::path directory = store_directory(arguments.directory);
  std::vector<std::string> names{arguments.name};
  if (arguments.name.empty()) {
    names = image::computations(directory);
  } else if (!std::filesystem::exists(image::Store(directory, arguments.name).path())) {
    throw base::Error(
        base::ErrorCode::not_found,
        fmt::format("there is no image of '{}' in {}", arguments.name, directory.string()),
        "look there, or name another store with --dir");
  }
  std::vector<Pruned> all;
  for (const std::string& name : names) all.push_back(prune(directory, name, arguments));
  if (arguments.json) {
    print_as_json(all, arguments.dry_run);
  } else {
    print(all, arguments.dry_run);
  }
  return 0;
}

}  // namespace torpor::cli
