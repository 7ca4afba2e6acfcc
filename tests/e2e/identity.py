#!/usr/bin/python3
"""Where a program gets its ids back: root has them on the host itself where all are free, everybody else,
and root where somebody has one of them, in a pid namespace."""

import ctypes
import os
import signal
import struct

import torpor_testing
from faults import REFUSED, FaultTest
from torpor_testing import reap_orphans, wait_until

SYS_CLONE3 = 435


def is_taken(pid: int) -> bool:
    reap_orphans()
    return os.path.exists(f"/proc/{pid}")


def fork_with_id(pid: int) -> int:
    """A child of ours that waits, with this id (clone3(2), set_tid)."""
    wanted = ctypes.c_int(pid)
    # flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
    arguments = struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    child = ctypes.CDLL(None, use_errno=True).syscall(SYS_CLONE3, arguments, len(arguments))
    if child == 0:
        while True:
            signal.pause()
    if child < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    return child


class Identity(FaultTest):
    def image_of_launched(self) -> tuple[list[int], int]:
        """The ids that it has, all of which are free now, and the last step that it printed."""
        steady = self.launch_steady()
        ids = [steady.process.pid]
        for pid in steady.output.ready:
            ids += [int(tid) for tid in os.listdir(f"/proc/{pid}/task")]
        return ids, self.save_and_end(steady, ids)

    def save_and_end(self, steady, ids: list[int]) -> int:
        """The last step that it printed."""
        self.torpor_ok("checkpoint", self.NAME, "--kill")
        self.wait(steady.process)
        steady.output.thread.join(torpor_testing.PATIENCE)
        wait_until(lambda: not any(map(is_taken, ids)), "all of its ids are free")
        return steady.output.last

    def assert_goes_on(self, steady, last: int) -> None:
        self.assertEqual(steady.output.first, last + 1)
        steady.end()
        self.assert_nothing_left()

    def pid_of_restarted(self) -> int:
        return self.computation(self.NAME)["pid"]

    # --- as root

    def root_only(self) -> None:
        if not self.is_root():
            self.skipTest("only root may choose ids on the host")

    def test_free_ids_on_the_host(self):
        self.root_only()
        for option in ((), ("--identity", "host")):
            with self.case(option):
                ids, last = self.image_of_launched()
                steady = self.bring_back(self.NAME, *option)
                self.assertEqual(self.pid_of_restarted(), ids[1])
                self.assertTrue(all(map(is_taken, ids)))
                self.assert_goes_on(steady, last)

    def test_again_and_again(self):
        """What came back on the host is saved like anything else."""
        self.root_only()
        ids, last = self.image_of_launched()
        for _ in range(5):
            steady = self.bring_back(self.NAME)
            self.assertEqual(steady.output.first, last + 1)
            last = self.save_and_end(steady, ids)
        steady = self.bring_back(self.NAME)
        self.assertEqual(self.pid_of_restarted(), ids[1])
        self.assert_goes_on(steady, last)

    def test_one_id_is_taken(self):
        self.root_only()
        ids, last = self.image_of_launched()
        for taken in (ids[0], ids[1], ids[-1]):
            with self.case(taken):
                stranger = fork_with_id(taken)
                try:
                    done = self.torpor("restart", self.NAME, "--identity", "host")
                    self.assert_said(done, REFUSED, str(taken), "try:")
                    self.assertEqual(done.stdout, "", "something has run")
                    steady = self.bring_back(self.NAME)
                    self.assertNotIn(self.pid_of_restarted(), ids)
                    self.assertTrue(is_taken(stranger))
                    self.assertEqual(steady.output.first, last + 1)
                    steady.end()
                finally:
                    os.kill(stranger, signal.SIGKILL)
                    os.waitpid(stranger, 0)
        self.assert_nothing_left()

    # --- as an ordinary user

    def test_no_ids_of_the_host_for_users(self):
        if self.is_root():
            self.skipTest("root may")
        ids, last = self.image_of_launched()
        done = self.torpor("restart", self.NAME, "--identity", "host")
        self.assert_said(done, REFUSED, "root", "try:")
        self.assertEqual(done.stdout, "", "something has run")
        steady = self.bring_back(self.NAME)
        self.assertNotIn(self.pid_of_restarted(), ids)
        self.assert_goes_on(steady, last)


torpor_testing.for_each_user(Identity)
del Identity

if __name__ == "__main__":
    torpor_testing.main()
