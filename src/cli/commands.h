// The commands: what each is told, and the function that does it.
//
// All return the exit status and throw base::Error. One file each.
#pragma once

#include <string>
#include <vector>

#include "restart/restart.h"
#include "supervisor/mode.h"

namespace torpor::cli {

// Strings are empty where the option was not given.
struct LaunchArguments {
  std::string name;
  std::string directory;
  std::string interval;
  unsigned keep = 3;
  supervisor::Mode mode = supervisor::Mode::automatic;
  int stop_signal = supervisor::kDefaultStopSignal;
  std::vector<std::string> command;
};
int launch_command(const LaunchArguments& arguments);

struct AttachArguments {
  int pid = 0;
  std::string name;
  std::string directory;
  std::string interval;
  unsigned keep = 3;
};
int attach_command(const AttachArguments& arguments);

struct PsArguments {
  bool all = false;  // also what is only stored
  std::string directory;
  bool json = false;
};
int ps_command(const PsArguments& arguments);

struct CheckpointArguments {
  std::string target;
  bool kill = false;
  std::string name;
  std::string directory;
  unsigned keep = 3;
  bool json = false;
};
int checkpoint_command(const CheckpointArguments& arguments);

struct RestartArguments {
  std::string image;
  bool detach = false;
  std::string output;
  std::string name;
  std::string directory;
  restart::Identity identity = restart::Identity::automatic;
  bool accept_changed_files = false;
  std::string interval;
  unsigned keep = 3;
};
int restart_command(const RestartArguments& arguments);

struct CheckArguments {
  std::string target;
  std::string directory;
  restart::Identity identity = restart::Identity::automatic;
  bool accept_changed_files = false;
  bool host = false;
  bool json = false;
};
int check_command(const CheckArguments& arguments);
int check_host(bool json);  // part of check

enum class Section { summary, tree, files, memory, threads, core };
struct InspectArguments {
  std::string image;
  Section section = Section::summary;
  int pid = 0;
  std::string output;
  std::string directory;
  bool json = false;
};
int inspect_command(const InspectArguments& arguments);

struct VerifyArguments {
  std::string image;
  std::string directory;
  bool json = false;
};
int verify_command(const VerifyArguments& arguments);

struct PruneArguments {
  std::string name;
  unsigned keep = 1;
  bool dry_run = false;
  std::string directory;
  bool json = false;
};
int prune_command(const PruneArguments& arguments);

struct VersionArguments {
  bool json = false;
};
int version_command(const VersionArguments& arguments);

struct DocsArguments {
  std::string format;
  std::string page;
};
int docs_command(const DocsArguments& arguments);

}  // namespace torpor::cli
