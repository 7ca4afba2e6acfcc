#!/usr/bin/python3
"""torpor fails, finds the disk full or is killed at every step of a restart: nothing of the program has
run, nothing of it stays behind, and the image is as good as before."""
# ctest: TIMEOUT 900 PROCESSORS 2 COST 100

import contextlib
import hashlib
import os
import pathlib
import signal
import subprocess
import time

import torpor_testing
from faults import EXIT_OF_ACTION, RESTART_STEPS, FaultTest
from torpor_testing import PATIENCE, descendants, is_alive, wait_until


class RestartSteps(FaultTest):
    def digest(self) -> dict[str, str]:
        """Of every file of the image."""
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in self.image_path(1).iterdir()}

    def fail_at_all_steps(self, action: str) -> None:
        last = self.image_of_killed()
        image = self.digest()
        for step in RESTART_STEPS:
            with self.case(step):
                fault = f"restart.{step}:{action}"
                done = self.torpor("restart", self.NAME, env=self.with_fault(fault))
                self.assertEqual(done.returncode, EXIT_OF_ACTION[action], done.stderr)
                self.assertEqual(done.stdout, "", "something has run")
                self.assert_no_processes(fault)
                self.assertEqual(self.digest(), image)
                if action != "kill":
                    self.assert_said(done, EXIT_OF_ACTION[action], f"restart.{step}")
                    self.assert_nothing_left(fault)
        self.assert_images_sound(1)
        self.assert_restarts(self.NAME, last, last)
        self.assert_nothing_left()

    def test_killed(self):
        self.fail_at_all_steps("kill")

    def test_failure(self):
        self.fail_at_all_steps("fail")

    def test_disk_full(self):
        self.fail_at_all_steps("full")

    def test_failure_in_the_background(self):
        """restart --detach tells whoever started it."""
        self.image_of_killed()
        for step in RESTART_STEPS:
            for action in ("fail", "kill"):
                with self.case(step, action):
                    done = self.torpor("restart", "--detach", self.NAME,
                                       env=self.with_fault(f"restart.{step}:{action}"))
                    self.assertGreaterEqual(done.returncode, 100, done.stderr)
                    self.assert_said(done, done.returncode)
                    self.assert_no_processes(step)
        self.assertEqual(self.torpor_json("ps"), [])

    def test_killed_at_any_moment(self):
        """Either nothing of the program is there, or all of it."""
        last = self.image_of_killed("--mib", "4")
        begun = time.monotonic()
        steady = self.bring_back()
        longest = time.monotonic() - begun
        steady.end()
        for seconds in self.moments(25, longest):
            with self.case(f"after {seconds:.6f} s"):
                self.kill_after(seconds, last)
        self.assert_images_sound(1)
        self.assert_restarts(self.NAME, last, last)
        self.assert_nothing_left()

    def kill_after(self, seconds: float, last: int) -> None:
        process = self.start_torpor("restart", self.NAME)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.wait()
        # A program that has been let go runs on without us, to the reader of its output.
        output = process.stdout
        os.set_blocking(output.fileno(), False)
        wait_until(lambda: not self.leftovers() or output.peek(1), "it runs, or nothing is left")
        if not self.leftovers():
            return
        os.set_blocking(output.fileno(), True)
        self.assertEqual(output.readline().split()[:2], [b"step", str(last + 1).encode()])
        for _ in range(5):  # with its child, or it would find that out
            self.assertEqual(output.readline().split()[0], b"step")
        programs = [pid for pid in descendants(os.getpid()) if is_alive(pid) and
                    pathlib.Path(f"/proc/{pid}/comm").read_text() == "steady\n"]
        self.assertEqual(len(programs), 2, self.leftovers())
        os.kill(min(programs), signal.SIGTERM)
        self.assertEqual(output.read().splitlines()[-1].split()[0], b"ok")
        wait_until(lambda: not self.leftovers(), "all has ended", PATIENCE)


torpor_testing.for_each_user(RestartSteps)
del RestartSteps

if __name__ == "__main__":
    torpor_testing.main()
