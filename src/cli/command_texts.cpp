#include "cli/command_texts.h"

#include <array>

#include "base/error.h"

namespace torpor::cli {
namespace {

constexpr std::array torpor_examples{
    Example{"torpor launch --name fit -- python3 fit.py", "start a program"},
    Example{"torpor checkpoint fit --kill", "save it and end it"},
    Example{"torpor restart fit", "let it go on where it was"},
};

constexpr std::array launch_examples{
    Example{"torpor launch make -j4", "as `make -j4`, but it can be checkpointed"},
    Example{"torpor launch --interval 10m -- ./simulate --steps 1000000",
            "with a checkpoint every ten minutes"},
};

constexpr std::array attach_examples{
    Example{"torpor attach 4711 --name sim --interval 1h", "checkpoint a running program hourly"},
};

constexpr std::array ps_examples{
    Example{"torpor ps --all", "what runs, and what could be restarted"},
    Example{"torpor ps --json | jq -r '.[].name'", "the names of what runs"},
};

constexpr std::array checkpoint_examples{
    Example{"torpor checkpoint", "the only computation that runs"},
    Example{"torpor checkpoint fit --kill", "save it, then end it"},
    Example{"torpor checkpoint 4711", "a process that was not started by torpor"},
};

constexpr std::array restart_examples{
    Example{"torpor restart fit", "from its latest image, at this terminal"},
    Example{"torpor restart fit@3 --detach --output fit.log",
            "from an older one, in the background"},
};

constexpr std::array check_examples{
    Example{"torpor check 4711", "could this process be checkpointed?"},
    Example{"torpor check fit@3", "could this image be restarted here?"},
    Example{"torpor check --host", "what does this host offer?"},
};

constexpr std::array inspect_examples{
    Example{"torpor inspect fit tree", "its processes"},
    Example{"torpor inspect fit core --output fit.core", "a core file for gdb"},
};

constexpr std::array verify_examples{
    Example{"torpor verify fit && echo sound", "check every byte of the latest image"},
};

constexpr std::array prune_examples{
    Example{"torpor prune --dry-run", "what would go, of all computations"},
    Example{"torpor prune fit --keep 2", "keep the two latest images of one"},
};

constexpr std::array version_examples{
    Example{"torpor version --json", "for scripts"},
};

constexpr std::array texts{
    CommandText{
        "", "save running programs to disk, and let them go on from there",
        "torpor takes checkpoints of programs as they are: with their processes, threads, memory, "
        "open files and pipes. It needs no root, no kernel module and no change to the program, "
        "and "
        "costs nothing between checkpoints. An image is complete once it is visible; later the "
        "program goes on from it as if nothing had happened.",
        torpor_examples},
    CommandText{
        "launch", "start a program that can be checkpointed",
        "Starts CMD and stands by it until it ends. The program runs at full speed, unchanged, in "
        "a "
        "session of its own. All words after the first that is no option, or after `--`, belong to "
        "CMD.\n\n"
        "The exit status is the program's own, or 128+n if signal n ended it; 127 if CMD was not "
        "found, 126 if it could not be run. launch ends when CMD itself ends; processes that CMD "
        "leaves running go on, without supervision.\n\n"
        "If a standard stream is a terminal, the program gets a terminal of its own in its place, "
        "and keys, output, window size, Ctrl-C and Ctrl-Z are carried between the two. It is hung "
        "up "
        "when launch is killed. Where standard output is a pipe, the program gets the streams as "
        "they are, and keys are left to the end of the pipeline. SIGTERM, SIGINT, SIGHUP, SIGQUIT, "
        "SIGUSR1 and SIGUSR2 that are sent to launch reach the program.\n\n"
        "Without --name the computation is called after its program, with a number if that name is "
        "taken by a running computation or by stored images.",
        launch_examples},
    CommandText{
        "attach", "stand by a program that runs already",
        "As launch, for a program that was started without torpor: it can then be checkpointed by "
        "name, and at intervals. attach ends when the process ends. Ctrl-C, or SIGTERM, ends only "
        "attach; the program goes on.",
        attach_examples},
    CommandText{"ps", "list the computations that run",
                "Shows the computations of this user that launch, attach or restart stand by. With "
                "--all also those of the image store (--dir) that do not run.",
                ps_examples},
    CommandText{
        "checkpoint", "save a running program to disk",
        "Stops the program for a moment, takes a copy of its memory that costs next to nothing, "
        "lets "
        "it go on, and writes the image meanwhile. The image becomes visible when all of it is on "
        "disk. If anything fails, the program goes on unharmed and earlier images are "
        "untouched.\n\n"
        "A PID that belongs to a computation means all of that computation. Any other process of "
        "yours is checkpointed with all its descendants. Ctrl-C gives the checkpoint up.",
        checkpoint_examples},
    CommandText{
        "restart", "bring a program back from its image",
        "Everything runs again with the same process ids, from the very instruction at which it "
        "was "
        "stopped. Standard streams that led outside now lead to those of restart. A program that "
        "had "
        "a terminal gets one again: yours, or one whose keys are the standard input of restart and "
        "whose screen is its standard output.\n\n"
        "The exit status is the program's own, as with launch; if the program could not be brought "
        "back, one of those under EXIT STATUS, and nothing of it runs. With --detach restart "
        "prints "
        "NAME and PID and returns as soon as the program runs.\n\n"
        "A computation's name can be used once at a time: to run a second one from the same image, "
        "give it another with --name.",
        restart_examples},
    CommandText{
        "check", "find out whether a checkpoint or restart would succeed",
        "Does the first, harmless step of a checkpoint or restart alone, and names all "
        "that stands in "
        "the way. A word with a '/' or '@' in it is an image; a number is a process; any "
        "other is a "
        "running computation, or else the latest image of that name. The exit status is 0 "
        "if nothing "
        "stands in the way, else 101.\n\n"
        "With --host it is about the host alone: what of that which torpor uses where it is "
        "there it offers to you, tried out, harmlessly; and how, with that, launch would "
        "hold a program (--mode) and restart give it its ids back (--identity, where all "
        "are free), each with the reason. The exit status is then 0.",
        check_examples},
    CommandText{
        "inspect", "show what is in an image",
        "Without a section: a summary. tree: the processes. files: open files by process and "
        "descriptor. memory: the areas of memory, and how much of each the image holds. threads: "
        "the "
        "threads. core: writes a core file of one process, for a debugger.",
        inspect_examples},
    CommandText{"verify", "check every byte of an image",
                "Reads the whole image and compares all checksums. The exit status is 0 if it is "
                "sound, 104 if it is not; the message then names the file and the place.",
                verify_examples},
    CommandText{
        "prune", "remove old images",
        "Keeps the latest images of each computation and removes the others. Damaged images do not "
        "count among those that are kept, and images in use are not touched. What interrupted "
        "checkpoints have left behind is removed too.",
        prune_examples},
    CommandText{"version", "print the version", "", version_examples},
    CommandText{"docs", "print man pages and shell completion", "", {}},
};

constexpr std::array all_chapters{
    Chapter{
        "ENVIRONMENT",
        "TORPOR_DIR: the image store, unless --dir says otherwise.\n\n"
        "XDG_STATE_HOME: without TORPOR_DIR the image store is torpor in this directory, or else "
        "~/.local/state/torpor.\n\n"
        "XDG_RUNTIME_DIR: the control sockets of running computations are in torpor in this "
        "directory, or else in /tmp/torpor-UID."},
    Chapter{
        "FILES",
        "STORE/NAME/GENERATION: an image. It holds the memory and the open files of the program "
        "and is readable by its owner alone."},
    Chapter{
        "JOB CONTROL",
        "The suspend key (Ctrl-Z) stops the program and torpor, as a shell expects it of a job; "
        "`fg` and `bg` let both go on. Programs that catch SIGTSTP and then send it to "
        "themselves are not stopped by it, because no shell in their session watches over them; "
        "stop torpor itself with SIGTSTP where this matters."},
};

using base::ErrorCode;

constexpr std::array all_exit_codes{
    ExitCodeText{ErrorCode::usage, "the command line is wrong."},
    ExitCodeText{ErrorCode::refused,
                 "the program has something that cannot be saved or restored; "
                 "nothing was touched."},
    ExitCodeText{ErrorCode::not_found, "there is no such computation, image or process."},
    ExitCodeText{ErrorCode::permission, "the kernel does not let this user do it."},
    ExitCodeText{ErrorCode::bad_image,
                 "the image is damaged or incomplete, or from a newer version of torpor."},
    ExitCodeText{ErrorCode::io, "reading or writing failed, for example because a disk is full."},
    ExitCodeText{ErrorCode::host_lacks,
                 "this host lacks a feature of the kernel or CPU that is needed."},
    ExitCodeText{ErrorCode::program_gone, "the program ended meanwhile."},
    ExitCodeText{ErrorCode::conflict,
                 "a name, process id or address is taken, another checkpoint is being "
                 "taken, or a signal ended the work before it was done."},
    ExitCodeText{ErrorCode::timeout, "something did not happen in time."},
    ExitCodeText{ErrorCode::internal, "a bug of torpor: please report it."},
};

}  // namespace

const CommandText& text_of(std::string_view command) {
  for (const CommandText& text : texts) {
    if (text.name == command) return text;
  }
  throw base::Error(base::ErrorCode::internal, fmt::format("no text for command '{}'", command));
}

std::string CommandText::examples_for_help() const {
  std::string text;
  for (const Example& example : examples) {
    text += fmt::format("{}  {}\n      {}\n", text.empty() ? "Examples:\n" : "", example.command,
                        example.effect);
  }
  return text;
}

std::span<const ExitCodeText> exit_codes() { return all_exit_codes; }

std::span<const Chapter> chapters() { return all_chapters; }

}  // namespace torpor::cli
