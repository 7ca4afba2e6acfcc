#!/usr/bin/python3
"""gdb opens a process of an image as a core file, and shows of every thread the stack that it had."""
# ctest: TIMEOUT 300

import os
import re
import shutil
import signal
import subprocess
import sys

import torpor_testing
from torpor_testing import TorporTest, process_state, wait_until

GDB_LACKS = None if shutil.which("gdb") else "this host has no gdb"
THREAD = re.compile(r"^Thread \d+ \(.*?LWP (\d+)")
FRAME = re.compile(r"^#\d+ +(?:0x[0-9a-f]+ in )?([^ (]+)")


def stacks(backtraces: str) -> dict[int, list[str]]:
    """The names of the functions, innermost first, by thread."""
    found: dict[int, list[str]] = {}
    thread = None
    for line in backtraces.splitlines():
        if match := THREAD.match(line):
            thread = found.setdefault(int(match[1]), [])
        elif (match := FRAME.match(line)) and thread is not None:
            thread.append(match[1])
    return found


class GdbCore(TorporTest):
    """The program has a main thread and three that wait in a function of their own. It is stopped, so
    that gdb can look at it alive, too, and both have to see the same."""

    def setUp(self):
        if GDB_LACKS:
            self.skipTest(GDB_LACKS)
        super().setUp()

    def gdb(self, *words) -> str:
        command = ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", *map(str, words)]
        done = subprocess.run(self.user_command(*command), env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def launch(self, name: str, *options: str) -> tuple[subprocess.Popen, int]:
        process = self.start_torpor("launch", "--name", "it", "--", self.program(name), *options)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        return process, self.computation("it")["pid"]

    def stop(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: process_state(pid) == "T", "the program is stopped")

    def live_stacks(self, name: str, pid: int) -> dict[int, list[str]]:
        # Attached as we are: a debugger of the user's would need leave to trace what is not its child.
        command = ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off",
                   "-p", str(pid), "-ex", "thread apply all bt", self.program(name)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120, check=False)
        seen = stacks(done.stdout)
        self.assertTrue(seen, done.stdout + done.stderr)
        # gdb's own stop must not be the last word.
        self.stop(pid)
        return seen

    def checkpoint(self, *words: str) -> str:
        return self.torpor_json("checkpoint", "it", *words)["image"]

    def core_stacks(self, name: str, image: str, pid: int) -> dict[int, list[str]]:
        core = os.path.join(image, f"{pid}.core")
        self.assertEqual(os.stat(core).st_mode & 0o777, 0o600)
        return stacks(self.gdb(self.program(name), core, "-ex", "thread apply all bt"))

    def end(self, process: subprocess.Popen, pid: int) -> None:
        os.kill(pid, signal.SIGCONT)
        self.assertEqual(self.wait(process), 0, process.stderr.read())

    def test_core_shows_the_stacks_of_the_living_program(self):
        process, pid = self.launch("proclist", "--seconds", "3")
        self.stop(pid)
        expected = self.live_stacks("proclist", pid)
        self.assertEqual(len(expected), 4)
        self.assertEqual([name for names in expected.values() for name in names
                          if name == "wait_for_end"], ["wait_for_end"] * 3)
        self.assertIn("main", expected[pid])
        image = self.checkpoint()
        self.assertEqual(self.core_stacks("proclist", image, pid), expected)
        self.end(process, pid)

    def test_core_of_a_restarted_program_shows_the_same(self):
        process, pid = self.launch("proclist", "--seconds", "3")
        self.stop(pid)
        first = self.checkpoint("--kill")
        self.wait(process)
        process = self.start_torpor("restart", "it")
        seen_pid = self.computation("it")["pid"]
        second = self.checkpoint()
        before = self.core_stacks("proclist", first, pid)
        self.assertEqual(len(before), 4)
        self.assertEqual(self.core_stacks("proclist", second, pid), before)
        self.end(process, seen_pid)

    def test_core_of_a_running_program_names_what_every_thread_does(self):
        process, pid = self.launch("blocked_calls", "--seconds", "2", "--tolerance-ms", "5000")
        image = self.checkpoint()
        seen = self.core_stacks("blocked_calls", image, pid)
        self.assertEqual(self.wait(process), 0, process.stderr.read())
        self.assertGreater(len(seen), 20)
        for tid, names in seen.items():
            outermost = {"main"} if tid == pid else {"block", "wake_at_deadline", "measure_delays"}
            self.assertTrue(outermost & set(names), f"thread {tid}: {names}")

    def test_core_from_inspect_is_the_same(self):
        process, pid = self.launch("proclist", "--seconds", "3")
        self.stop(pid)
        image = self.checkpoint()
        made = self.directory / "tmp" / "made.core"
        self.torpor_ok("inspect", image, "core", "--output", made)
        text = self.gdb(self.program("proclist"), made, "-ex", "thread apply all bt")
        self.assertEqual(stacks(text), self.core_stacks("proclist", image, pid))
        self.end(process, pid)

    def test_core_has_data_and_registers(self):
        process, pid = self.launch("proclist", "--seconds", "3")
        self.stop(pid)
        core = os.path.join(self.checkpoint(), f"{pid}.core")
        text = self.gdb(self.program("proclist"), core, "-ex", "frame function main",
                        "-ex", "print everything_ready", "-ex", "print/x $rip", "-ex", "info auxv",
                        "-ex", "info sharedlibrary")
        self.assertRegex(text, r"\$1 = .*\{")
        self.assertRegex(text, r"\$2 = 0x[0-9a-f]+")
        self.assertIn("AT_ENTRY", text)
        self.assertIn("libc.so.6", text)
        self.end(process, pid)


torpor_testing.for_each_user(GdbCore)
del GdbCore

if __name__ == "__main__":
    torpor_testing.main()
