#!/usr/bin/python3
"""Every row of the pid table after a restart in which every process and thread has another id than
before: what the calls tell is what they told before, to a dynamic and to a static program, by the C
library, by instructions and by generated code."""

import pathlib
import re

import torpor_testing
from torpor_testing import TorporTest, descendants

# Rows whose calls say the same of somebody as of nobody here, to a user without capabilities, or on
# kernels without them; src/agent/resident/id_calls_test.cpp looks at these.
ALIKE = {"prctl PR_SET_PTRACER", "prctl PR_SCHED_CORE", "clock_adjtime", "mount_setattr", "move_mount",
         "fspick", "mount", "pivot_root", "umount2", "acct", "swapon", "swapoff", "uselib",
         "perf_event_open", "open_tree_attr", "file_getattr", "file_setattr", "setxattrat",
         "getxattrat", "listxattrat", "removexattrat", "fchmodat2", "fanotify_mark", "quotactl"}
# Where other processes may not be looked into.
ALIKE_IN_CONTAINER = ALIKE | {"process_vm_readv", "process_vm_writev", "kcmp"}


class IdsRestarted(TorporTest):
    def ids_on_host(self, process) -> set[int]:
        tasks = (pathlib.Path(f"/proc/{pid}/task") for pid in descendants(process.pid))
        return {int(task.name) for tasks_of_one in tasks for task in tasks_of_one.iterdir()}

    def launched(self, around: list[str], program: str):
        command = self.user_command(
            *around, self.torpor_path, "launch", "--mode", "wrapped", "--name", "it", "--",
            self.program(program), "--seconds", "0", "--ids", self.directory / "tmp" / "ids",
            "--until", self.directory / "tmp" / "restarted")
        return self.start(command, text=True)

    def cycle(self, letter: str, program: str) -> str:
        """What the program said on its standard error."""
        around = self.environment_command(letter)
        first = self.launched(around, program)
        self.assertEqual(first.stdout.readline(), "ready\n", first.poll() and first.stderr.read())
        before = {int(word) for word in (self.directory / "tmp" / "ids").read_text().split()}
        self.torpor_ok("checkpoint", "--kill", "it")
        said = first.communicate(timeout=60)[1]
        second = self.start(self.user_command(*around, self.torpor_path, "restart", "it",
                                              "--identity", "table"), text=True)
        self.computation("it")
        self.assertEqual(before & self.ids_on_host(second), set(), "not all ids are other ones")
        (self.directory / "tmp" / "restarted").touch()
        output, words = second.communicate(timeout=60)
        self.assertEqual((second.returncode, output), (0, "ok\n"), words)
        return said

    def check(self, letter: str, program: str, alike: set[str]) -> None:
        said = self.cycle(letter, program)
        rows = set(re.findall(r"^skipped: (.*?)(?: argument \d+)? \(", said, re.MULTILINE))
        self.assertLessEqual(rows, alike, said)

    def test_in_a_container(self):
        self.check("c", "ids_rows", ALIKE_IN_CONTAINER)

    def test_static_program_in_a_container(self):
        self.check("c", "ids_rows_static", ALIKE_IN_CONTAINER)

    def test_where_others_may_be_traced(self):
        self.check("a", "ids_rows", ALIKE)


torpor_testing.for_each_user(IdsRestarted)
globals().pop("IdsRestartedAsRoot", None)  # who would go the same way
del IdsRestarted

if __name__ == "__main__":
    torpor_testing.main()
