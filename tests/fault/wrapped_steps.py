#!/usr/bin/python3
"""In the wrapped mode, in a plain container, the supervisor fails or is killed in the midst of a checkpoint:
nobody else holds the program, which lets itself go, and whoever comes next can save it."""
# ctest: TIMEOUT 600 PROCESSORS 2

import ctypes
import os
import pathlib
import signal
import socket
import struct
import time

import checkpoint_steps
import faults
import torpor_testing

SYS_PIDFD_GETFD = 438


def cut_sockets(pid: int, names: set[str]) -> int:
    """Shuts the process's connections to processes of these names down; how many there were."""
    pidfd = os.pidfd_open(pid)
    count = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        if not os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:"):
            continue
        copy = ctypes.CDLL(None).syscall(SYS_PIDFD_GETFD, pidfd, int(number), 0)
        with socket.socket(fileno=copy) as connection:
            peer, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if peer > 0 and pathlib.Path(f"/proc/{peer}/comm").read_text().strip() in names:
                connection.shutdown(socket.SHUT_RDWR)
                count += 1
    os.close(pidfd)
    return count


class WrappedSteps(checkpoint_steps.SupervisorSteps):
    environment_of_all = "c"
    launch_options = ("--mode", "wrapped")

    def bring_back(self, image=None, *options, **settings):
        """Where that is possible."""
        self.environment_of_all = None
        try:
            return super().bring_back(image, *options, **settings)
        finally:
            self.environment_of_all = "c"

    def launch_alone(self) -> faults.Steady:
        """One whose supervisor has been killed."""
        steady = self.launch_steady("--mib", "4")
        steady.process.kill()
        self.wait(steady.process)
        self.assertEqual(self.torpor_json("ps"), [])
        return steady

    def kill_at_any_moment(self, steady: faults.Steady, count: int, look) -> None:
        """Commands that take a checkpoint; `look` sees to it that the program is as before."""
        begun = time.monotonic()
        self.torpor_ok("checkpoint", steady.pid, "--name", self.NAME)
        longest = time.monotonic() - begun
        command = self.torpor_command("checkpoint", steady.pid, "--name", self.NAME, "--keep", "2")
        for seconds in self.moments(count, longest):
            with self.case(f"after {seconds:.6f} s"):
                self.run_and_kill(command, seconds)
                look()
                self.assert_no_processes()
        self.assert_images_sound(1)

    def save_and_bring_back(self, steady: faults.Steady) -> None:
        last = self.checkpoint_ok(steady, "--kill")
        self.assert_nothing_left(allowed=("run/torpor/it.sock", "run/torpor/it.lock"))
        self.assert_restarts(self.NAME, *last)

    def test_killed_at_any_moment(self):
        steady = self.launch_alone()
        before = self.pictures(steady)
        self.kill_at_any_moment(steady, 30, lambda: self.assert_unharmed(steady, before))
        self.save_and_bring_back(steady)

    def test_killed_at_any_moment_when_stopped(self):
        """The program was let go on only to be saved: it is stopped again, and has not run."""
        steady = self.launch_alone()
        before = self.pictures(steady)
        for pid in steady.output.ready:
            os.kill(pid, signal.SIGSTOP)

        def look():
            torpor_testing.wait_until(lambda: self.all_stopped(steady), "all are stopped again")

        look()
        self.kill_at_any_moment(steady, 20, look)
        last = steady.output.last
        look()
        self.assertEqual(steady.output.last, last)
        for pid in steady.output.ready:
            os.kill(pid, signal.SIGCONT)
        self.assert_unharmed(steady, before)
        self.save_and_bring_back(steady)

    def test_socket_is_cut(self):
        """The supervisor lives, but nobody hears of it: each process lets itself go, without being told."""
        if os.geteuid() != 0:
            self.skipTest("only root may take the sockets of another user's supervisor")
        for step in ("enter", "capture", "copy"):  # later on all that is wanted is there
            with self.case(step):
                self.cut_at(step)

    def cut_at(self, step: str) -> None:
        steady = self.launch_steady(fault=f"checkpoint.{step}:halt")
        before = self.pictures(steady)
        supervisor = steady.process.pid
        command = self.start_torpor("checkpoint", self.NAME)
        torpor_testing.wait_until(lambda: torpor_testing.process_state(supervisor) == "T", "it has halted")
        self.assertGreater(cut_sockets(supervisor, {"steady"}), 0)
        self.assert_unharmed(steady, before)
        self.assertEqual(torpor_testing.process_state(supervisor), "T")
        os.kill(supervisor, signal.SIGCONT)
        self.assertGreaterEqual(self.wait(command), 100, command.stderr.read())
        self.assert_unharmed(steady, before)
        steady.end()
        self.assert_nothing_left(step)

    @staticmethod
    def all_stopped(steady: faults.Steady) -> bool:
        states = [torpor_testing.process_state(int(task)) for pid in steady.output.ready
                  for task in os.listdir(f"/proc/{pid}/task")]
        return set(states) == {"T"}


if __name__ == "__main__":
    torpor_testing.main()
