"""A test program run as it is, and run again while torpor checkpoints, kills and restarts it: what it
writes and how it ends may not differ.

Environment, besides that of torpor_testing: TORPOR_SOURCE (the source tree, for the scripts),
TORPOR_TEST_SEED (of everything random; printed by every run), TORPOR_TEST_CYCLES (how often each
program is disturbed), TORPOR_TEST_KEEP (directories of failed tests are kept).
"""

import argparse
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import unittest

import torpor_testing
from torpor_testing import NOT_FOUND, PROGRAM_GONE, REFUSED, TorporTest, descendants, is_alive

SKIPPED = 77          # exit status of a program, or of a test, that this host has nothing for
UNDISTURBED_PATIENCE = 300.0  # seconds that it may take undisturbed
END_PATIENCE = 90.0   # seconds that a program may take longer than undisturbed
REFUSED_TRIES = 5
COMMAND_PATIENCE = 60.0  # seconds for a checkpoint or restart


# ------------------------------------------------------------------------------- the programs

# The programs of one feature each.
FEATURES = (
    "proclist argv_env creds pending_signals dispositions hostile_signals fds deleted_file directories devices "
    "pipes fifos ptys socketpairs unixsockets eventfds epolls signalfds memory_anonymous memory_shared "
    "memory_files memory_zeros memory_fork memory_layout private_file_zero process_tree stopped daemon "
    "dead_leader thread_attrs inflight_vfork blocked_calls clocks itimers timerfds pidfds sandbox").split()


def features(options: dict[str, str]) -> dict[str, dict]:
    """All of them, some with options: what a test allows for."""
    return {name: {"options": options.get(name, "").split()} for name in FEATURES}


def listed_programs() -> dict[str, list[str]]:
    """Name and command of every test program of this build."""
    text = pathlib.Path(os.environ["TORPOR_PROGRAMS"], "programs.txt").read_text(encoding="utf-8")
    return {words[0]: words[1:] for words in map(str.split, text.splitlines()) if words}


def with_options(command: list[str], options: list[str]) -> list[str]:
    """The command with these pairs of option and value instead of its own."""
    result = list(command)
    for option, value in zip(options[::2], options[1::2]):
        if option in result:
            result[result.index(option) + 1] = value
        else:
            result += [option, value]
    return result


class ReachableTrees:
    """Copies of the directories that the user cannot get at."""

    def __init__(self, uid: int | None, shared: pathlib.Path):
        self.moved: dict[str, str] = {}
        source = os.path.join(os.environ["TORPOR_SOURCE"], "tests", "programs")
        for tree in (source, os.environ["TORPOR_PROGRAMS"]):
            can_read = torpor_testing.as_user(uid, ["test", "-r", f"{tree}/.", "-a", "-x", tree])
            if subprocess.run(can_read, check=False).returncode != 0:
                self.moved[tree] = self.copy(tree, shared / f"tree-{len(self.moved)}")

    @staticmethod
    def copy(tree: str, to: pathlib.Path) -> str:
        shutil.copytree(tree, to, ignore=shutil.ignore_patterns("CMakeFiles", "go-cache"))
        for path in to.rglob("*"):
            path.chmod(path.stat().st_mode | 0o444 | (path.stat().st_mode & 0o100) // 0o100 * 0o111)
        return str(to)

    def word(self, word: str) -> str:
        for tree, copy in self.moved.items():
            if word == tree or word.startswith(tree + "/"):
                return copy + word[len(tree):]
        return word


@dataclasses.dataclass
class Undisturbed:
    output: bytes
    status: int
    seconds: float


# ------------------------------------------------------------------------------- looking


def describe_thread(task: pathlib.Path) -> str:
    def text(name: str) -> str:
        try:
            return (task / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError as error:
            return error.strerror or "?"
    status = dict(line.split(":\t", 1) for line in text("status").splitlines() if ":\t" in line)
    wanted = ("Name", "State", "PPid", "NSpid", "TracerPid", "SigPnd", "ShdPnd", "SigBlk")
    facts = " ".join(f"{name}={status.get(name, '?').strip()}" for name in wanted)
    return f"    {task.name}: {facts} syscall={text('syscall')} wchan={text('wchan')}"


def describe_tree(pid: int) -> str:
    """What everything below pid is doing: for the one who has to find out why a test hangs."""
    lines = []
    for process in descendants(pid):
        lines.append("  " + torpor_testing.describe_process(process))
        tasks = sorted(pathlib.Path(f"/proc/{process}/task").glob("*"))
        lines += [describe_thread(task) for task in tasks[:8]]
    return "\n".join(lines)


# ------------------------------------------------------------------------------- the test case


class DisturbedTest(TorporTest):
    """Runs the test program `name`. The program's standard output and error are files that its user
    owns; torpor's own words after a restart go to another."""

    name = ""                 # of the program, as in programs.txt
    options: list[str] = []   # further arguments of it
    launch_options: list[str] = []  # of torpor launch
    environment_letter = ""         # in which it is launched (environment.c), if any
    restart_options: list[str] = []  # of torpor restart
    restart_environment = ""         # in which it is restarted, if any
    only_as_user = False            # where root would go the same way
    only_as_root = False            # where nobody else can

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.trees = ReachableTrees(cls.uid, cls.shared)

    @classmethod
    def tearDownClass(cls):
        if "TORPOR_TEST_KEEP" not in os.environ:
            super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.random = random.Random(f"{settings().seed} {self.id()}")
        self.words_file = self.owned_file("torpor.err")
        commands = listed_programs()
        if self.name not in commands:
            self.skipTest(f"this build has no test program {self.name} (a tool of it is missing)")
        self.command = with_options([self.trees.word(word) for word in commands[self.name]],
                                    self.options)

    def tearDown(self):
        if not self._outcome.success:
            print(f"--- {self.id()}: what runs at its end:\n{describe_tree(os.getpid())}\n"
                  f"--- standard error:\n{self.standard_errors()}", file=sys.stderr)
            if "TORPOR_TEST_KEEP" in os.environ:
                kept = self.directory.with_name("kept-" + self.id())
                shutil.copytree(self.directory, kept, symlinks=True, dirs_exist_ok=True)
                print(f"--- kept: {kept}", file=sys.stderr)
        super().tearDown()

    def standard_errors(self) -> str:
        texts = [path.read_text(errors="replace")[-4000:] for path in self.directory.glob("*.err")]
        return "\n".join(texts)

    # --- files

    def owned_file(self, name: str) -> pathlib.Path:
        """An empty file of the user's in the test's directory."""
        path = self.directory / name
        path.write_bytes(b"")
        if self.uid is not None:
            os.chown(path, self.uid, self.uid)
        return path

    def start_into(self, name: str, command: list[str], append: bool = False) -> subprocess.Popen:
        """Starts a command with standard output in the file `name`.out, standard error in .err."""
        flags = os.O_WRONLY | (os.O_APPEND if append else 0)
        out, err = (os.open(self.owned_file(name + end), flags) for end in (".out", ".err"))
        try:
            return self.start(command, stdout=out, stderr=err)
        finally:
            os.close(out)
            os.close(err)

    def output(self, name: str) -> bytes:
        return (self.directory / f"{name}.out").read_bytes()

    # --- running

    def run_undisturbed(self) -> Undisturbed:
        began = time.monotonic()
        process = self.start_into("undisturbed", self.user_command(*self.command))
        status = self.wait_for_end(process, "undisturbed", UNDISTURBED_PATIENCE)
        if status == SKIPPED:
            self.skipTest(f"{self.name}: {self.standard_errors().strip()}")
        self.assertEqual(status, 0, f"undisturbed: {self.standard_errors()}")
        return Undisturbed(self.output("undisturbed"), status, time.monotonic() - began)

    def launch(self, append: bool = False) -> subprocess.Popen:
        around = self.environment_command(self.environment_letter) if self.environment_letter else []
        command = self.user_command(*around, self.torpor_path, "launch", "--name", "it",
                                    *self.launch_options, "--", *self.command)
        process = self.start_into("disturbed", command, append)
        self.wait_for_computation(process)
        return process

    def wait_for_computation(self, process: subprocess.Popen) -> None:
        """Until its program runs, or has ended."""
        def runs():
            entries = json.loads(self.torpor_ok("ps", "--json"))
            return any(entry["name"] == "it" and entry["pid"] > 0 for entry in entries)
        torpor_testing.wait_until(lambda: process.poll() is not None or runs(),
                                  "the computation runs", COMMAND_PATIENCE)

    def checkpoint(self, process: subprocess.Popen, *words: str) -> bool:
        """Takes a checkpoint; False if the program had ended, or did so before it was taken."""
        for _ in range(REFUSED_TRIES):
            done = self.torpor("checkpoint", "it", *words, timeout=COMMAND_PATIENCE)
            if done.returncode != REFUSED or "when the program has read" not in done.stderr:
                break
            time.sleep(self.random.uniform(0, 0.2))  # as torpor said
        if done.returncode in (NOT_FOUND, PROGRAM_GONE) and self.ends_by_itself(process):
            return False
        self.assertEqual(done.returncode, 0, f"checkpoint {words}: {done.stdout}{done.stderr}")
        return True

    def ends_by_itself(self, process: subprocess.Popen) -> bool:
        """It ends at once: what torpor said of its end was true."""
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            return False
        return True

    def restart(self, *words: str) -> subprocess.Popen:
        """Starts to bring the program back, in the foreground."""
        with open(self.words_file, "ab") as err:
            letter = self.restart_environment
            around = self.environment_command(letter) if letter else []
            command = self.user_command(*around, self.torpor_path, "restart", "it",
                                        *self.restart_options, *words)
            process = self.start(command, stdout=subprocess.DEVNULL, stderr=err)
        self.wait_for_computation(process)
        return process

    def wait_for_end(self, process: subprocess.Popen, what: str, seconds: float) -> int:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.fail(f"{what}: it has not ended after {seconds:.0f} s")

    # --- ending it from outside

    def end_by_kill_option(self, process: subprocess.Popen) -> bool:
        """A checkpoint that ends the program once its image is on disk."""
        if not self.checkpoint(process, "--kill"):
            return False
        self.assertEqual(self.wait_for_end(process, "after --kill", COMMAND_PATIENCE),
                         128 + signal.SIGKILL)
        return True

    def end_by_crash(self, process: subprocess.Popen) -> bool:
        """A checkpoint, then work that will be lost, then SIGKILL to all of the program, or to all of
        it and the supervisor."""
        if not self.checkpoint(process):
            return False
        time.sleep(self.random.uniform(0, 0.1))
        with_supervisor = self.random.random() < 0.5
        if with_supervisor:
            process.kill()
        self.kill_program(process)
        status = self.wait_for_end(process, "after SIGKILL", COMMAND_PATIENCE)
        self.assertIn(status, (-signal.SIGKILL, 128 + signal.SIGKILL, 0),
                      f"after SIGKILL: {self.standard_errors()}")
        return True

    def kill_program(self, supervisor: subprocess.Popen) -> None:
        """SIGKILL to all below us but the supervisor, until there is nothing more."""
        deadline = time.monotonic() + COMMAND_PATIENCE
        while True:
            torpor_testing.reap_orphans()
            pids = [pid for pid in descendants(os.getpid())
                    if pid != supervisor.pid and is_alive(pid)]
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if time.monotonic() > deadline:
                self.fail("cannot be killed:\n" + describe_tree(os.getpid()))

    # --- judging

    def assert_as_undisturbed(self, status: int, expected: Undisturbed) -> None:
        self.assertEqual(status, expected.status, f"exit status: {self.standard_errors()}")
        seen = self.output("disturbed")
        if seen == expected.output:
            return
        at = len(os.path.commonprefix([seen, expected.output]))
        self.fail(f"the output differs from byte {at} on: {seen[at:at + 200]!r} ({len(seen)} bytes) "
                  f"instead of {expected.output[at:at + 200]!r} ({len(expected.output)})")

    def assert_nothing_left(self, *, temporary_files: bool = True) -> None:
        left = self.leftover_processes()
        self.assertEqual(left, [], "processes were left behind:\n" + "\n".join(left))
        if temporary_files:
            names = [str(path) for path in (self.directory / "tmp").rglob("*")]
            self.assertEqual(names, [], "temporary files were left behind")
        left = [str(path) for path in (self.directory / "run").rglob("it*")]
        self.assertEqual(left, [], "files of the supervisor were left behind")


# ------------------------------------------------------------------------------- the command line


@dataclasses.dataclass
class Settings:
    programs: list[str]
    seed: int
    cycles: int | None
    only: str | None  # "root" or "user"


_settings: list[Settings] = []


def settings() -> Settings:
    return _settings[0]


def read_settings() -> Settings:
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", nargs="*", help="names of test programs (else all of this test)")
    parser.add_argument("--seed", type=int, default=os.environ.get("TORPOR_TEST_SEED"))
    parser.add_argument("--cycles", type=int, default=os.environ.get("TORPOR_TEST_CYCLES"))
    parser.add_argument("--only", choices=("root", "user"))
    parser.add_argument("--torpor", default=os.environ.get("TORPOR"))
    given = parser.parse_args()
    os.environ["TORPOR"] = given.torpor
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    return Settings(given.programs, seed, given.cycles, given.only)


def users() -> dict[str, int | None]:
    """As whom to run: root and an ordinary user; only as we are if we are not root."""
    if os.geteuid() != 0:
        return {"user": None}
    both = {"user": torpor_testing.ORDINARY_UID, "root": None}
    return {name: uid for name, uid in both.items() if settings().only in (None, name)}


def main(case: type[DisturbedTest], programs: dict[str, dict]) -> None:
    """Runs the test case for the programs named on the command line, else for all; `programs` has for
    each the attributes of the case that are special for it."""
    _settings.append(read_settings())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # tearDown cleans up
    names = settings().programs or list(programs)
    print(f"seed {settings().seed}; the same again: "
          f"TORPOR_TEST_SEED={settings().seed} {sys.argv[0]} {' '.join(names)}", flush=True)
    suite = unittest.TestSuite()
    for name in names:
        for user, uid in users().items():
            attributes = {"name": name, "uid": uid, "__module__": case.__module__, **programs[name]}
            if user == ("root" if case.only_as_user else attributes.get("only_as_root") and "user"):
                continue
            variant = type(f"{case.__name__}_{name}_{user}", (case,), attributes)
            suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(variant))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    for test, reason in result.skipped:
        print(f"skipped {test}: {reason}", flush=True)
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if result.testsRun == len(result.skipped) else 0)
