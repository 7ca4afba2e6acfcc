#!/usr/bin/python3
"""Every row of the pid table after a restart in which every process and thread has another id than
before: what the calls tell is what they told before, to a dynamic and to a static program, by the C
library, by instructions and by generated code."""

import contextlib
import ctypes
import errno
import os
import pathlib
import re
import signal
import struct

import torpor_testing
from torpor_testing import TorporTest, descendants, is_alive, reap_orphans, wait_until

# Rows whose calls say the same of somebody as of nobody here, to a user without capabilities, or on
# kernels without them; src/agent/resident/id_calls_test.cpp looks at these.
ALIKE = {"prctl PR_SET_PTRACER", "prctl PR_SCHED_CORE", "clock_adjtime", "mount_setattr", "move_mount",
         "fspick", "mount", "pivot_root", "umount2", "acct", "swapon", "swapoff", "uselib",
         "perf_event_open", "open_tree_attr", "file_getattr", "file_setattr", "setxattrat",
         "getxattrat", "listxattrat", "removexattrat", "fchmodat2", "fanotify_mark", "quotactl"}
# Where other processes may not be looked into.
ALIKE_IN_CONTAINER = ALIKE | {"process_vm_readv", "process_vm_writev", "kcmp"}


SYS_CLONE3 = 435


def stranger_with_id(pid: int, uid: int | None) -> int:
    """A child of ours with this id (set_tid), whom any signal of its user ends; 0 while it is taken."""
    wanted = ctypes.c_int(pid)
    # flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
    arguments = struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    child = ctypes.CDLL(None, use_errno=True).syscall(SYS_CLONE3, arguments, len(arguments))
    if child == 0:
        os.chdir("/")
        if uid is not None:
            os.setresuid(uid, uid, uid)
        while True:
            signal.pause()
    if child < 0 and ctypes.get_errno() == errno.EEXIST:
        return 0
    if child < 0:
        raise OSError(ctypes.get_errno(), f"clone3 with id {pid}")
    torpor_testing.known_children.add(child)
    return child


class IdsRestarted(TorporTest):
    def ids_on_host(self, process) -> set[int]:
        tasks = (pathlib.Path(f"/proc/{pid}/task") for pid in descendants(process.pid))
        return {int(task.name) for tasks_of_one in tasks for task in tasks_of_one.iterdir()}

    def launch(self, around: list[str], program: str):
        command = self.user_command(
            *around, self.torpor_path, "launch", "--mode", "wrapped", "--name", "it", "--",
            self.program(program), "--seconds", "0", "--ids", self.directory / "tmp" / "ids",
            "--after", self.directory / "tmp" / "restarted")
        process = self.start(command, text=True)
        self.assertEqual(process.stdout.readline(), "ready\n", process.poll() and process.stderr.read())
        return process

    def save(self, process) -> tuple[set[int], str]:
        """The ids that it had, and what it said on its standard error."""
        ids = {int(word) for word in (self.directory / "tmp" / "ids").read_text().split()}
        self.assertEqual(len(ids), 4)
        self.assertLessEqual(ids, self.ids_on_host(process))
        return ids, self.save_and_end(process)

    def save_and_end(self, process) -> str:
        self.torpor_ok("checkpoint", "--kill", "it")
        return process.communicate(timeout=60)[1]

    def restart(self, around: list[str], identity: str):
        process = self.start(self.user_command(*around, self.torpor_path, "restart", "it",
                                               "--identity", identity), text=True)
        wait_until(lambda: process.poll() is not None or self.torpor_json("ps"), "it is there")
        self.assertIsNone(process.poll(), process.poll() is not None and process.stderr.read())
        return process

    def restart_with_other_ids(self, around: list[str], ids: set[int]):
        process = self.restart(around, "table")
        self.computation("it")
        self.assertEqual(ids & self.ids_on_host(process), set(), "not all ids are other ones")
        return process

    def bring_back(self, around: list[str], ids: set[int]) -> None:
        self.finish(self.restart_with_other_ids(around, ids))

    def finish(self, process) -> None:
        """Lets it go through all rows again."""
        (self.directory / "tmp" / "restarted").touch()
        output, words = process.communicate(timeout=60)
        self.assertEqual((process.returncode, output), (0, "ok\n"), words)

    def cycle(self, letter: str, program: str) -> str:
        around = self.environment_command(letter)
        ids, said = self.save(self.launch(around, program))
        self.bring_back(around, ids)
        return said

    def take(self, pid: int) -> int:
        reap_orphans()
        return stranger_with_id(pid, self.uid)

    @contextlib.contextmanager
    def strangers(self, ids: set[int]):
        """Somebody has each of these ids, from now on and unharmed at the end."""
        strangers: list[int] = []
        try:
            for pid in ids:
                strangers.append(wait_until(lambda: self.take(pid), f"{pid} is free"))
            yield
            self.assertEqual([pid for pid in strangers if not is_alive(pid)], [], "strangers were killed")
        finally:
            for pid in strangers:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                torpor_testing.known_children.discard(pid)

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


    def test_again_and_then_in_a_namespace(self):
        around = self.environment_command("d")  # which refuses the same in both, and has namespaces
        ids, _ = self.save(self.launch(around, "ids_rows"))
        for _ in range(2):
            self.save_and_end(self.restart_with_other_ids(around, ids))
        self.finish(self.restart(around, "namespace"))

    def test_while_strangers_have_all_ids(self):
        if os.geteuid() != 0:
            self.skipTest("only root may choose ids on the host")
        around = self.environment_command("c")
        for program in ("ids_rows", "ids_rows_static"):
            ids, _ = self.save(self.launch(around, program))
            with self.strangers(ids):
                self.bring_back(around, ids)
            (self.directory / "tmp" / "restarted").unlink()


torpor_testing.for_each_user(IdsRestarted)
globals().pop("IdsRestartedAsRoot", None)  # who would go the same way
del IdsRestarted

if __name__ == "__main__":
    torpor_testing.main()
