#!/usr/bin/python3
"""Checkpoints of a program whose processes are born, execute others and die all the time, and of one
that ends meanwhile: each is taken, or nothing has happened; the program notices neither."""
# ctest: TIMEOUT 600 PROCESSORS 2 COST 100

import os
import signal
import subprocess

import torpor_testing
from faults import NOT_FOUND, PROGRAM_GONE, FaultTest, Steady
from torpor_testing import is_alive, wait_until

CHECKPOINTS = 20
ENDS = 40


class ChangingTree(FaultTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        steady = os.environ["TORPOR_STEADY"]
        cls.restless_path = cls.reachable(os.path.join(os.path.dirname(steady), "restless"))

    def start_restless(self, mode: str) -> Steady:
        process = self.start(self.user_command(self.restless_path, mode))
        return self.watch(process, process.pid)

    def leftovers(self) -> list[str]:
        """The children of the restless are never the same."""
        return [line for line in super().leftovers() if "restless" not in line]

    def disturb(self, mode: str) -> None:
        steady = self.start_restless(mode)
        for count in range(CHECKPOINTS):
            with self.case(mode, count):
                before = steady.output.last
                self.torpor_ok("checkpoint", steady.pid, "--name", self.NAME, "--keep", "2")
                steady.wait_for_steps()
                self.assertGreater(steady.output.last, before)
        self.assert_images_sound(2)
        image = f"{self.NAME}@{self.generations()[-1]}"
        until = steady.output.last
        steady.end()
        self.assert_restarts(image, 0, until)
        self.assert_nothing_left(mode)

    def test_forks(self):
        self.disturb("fork")

    def test_executes_others(self):
        self.disturb("exec")

    def test_kills_its_children(self):
        self.disturb("kill")

    def test_makes_threads(self):
        self.disturb("spawn")

    def test_becomes_another(self):
        self.disturb("become")

    # --- it ends

    def end_during_checkpoint(self, steady: Steady, number: int, seconds: float) -> None:
        """The checkpoint succeeded, or says that the program was too fast for it."""
        target = steady.pid
        known = self.generations()
        process = self.start_torpor("checkpoint", target, "--name", self.NAME, "--keep", "99")
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        os.kill(steady.pid, number)
        errors = process.communicate(timeout=60)[1].decode()
        self.assertIn(process.returncode, (0, NOT_FOUND, PROGRAM_GONE), errors)
        self.assertEqual(len(self.generations()) - len(known), process.returncode == 0)
        if process.returncode != 0:
            self.assertRegex(errors, r"(?m)^torpor: \S")

    def test_ends_meanwhile(self):
        for seconds in self.moments(ENDS, 0.1):
            with self.case(f"SIGTERM after {seconds:.6f} s"):
                steady = self.start_steady()
                self.end_during_checkpoint(steady, signal.SIGTERM, seconds)
                self.assertEqual(self.wait(steady.process), 0, steady.errors())
                steady.output.thread.join()
                self.assertEqual(steady.output.wrong, [])
                self.assertEqual(steady.output.steps_at_end, steady.output.last + 1)
                self.assert_nothing_left()
        self.assert_images_sound(0)

    def test_is_killed_meanwhile(self):
        for seconds in self.moments(ENDS, 0.1):
            with self.case(f"SIGKILL after {seconds:.6f} s"):
                steady = self.start_steady()
                self.end_during_checkpoint(steady, signal.SIGKILL, seconds)
                self.assertEqual(self.wait(steady.process), -signal.SIGKILL)
                steady.output.thread.join()
                self.assertEqual(steady.output.wrong, [])
                # Its child sees the end of the pipe.
                wait_until(lambda s=steady: not any(map(is_alive, s.output.ready)), "its child ends")
                self.assert_nothing_left()
        self.assert_images_sound(0)


torpor_testing.for_each_user(ChangingTree)
del ChangingTree

if __name__ == "__main__":
    torpor_testing.main()
