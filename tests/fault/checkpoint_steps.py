#!/usr/bin/python3
"""torpor fails, finds the disk full or is killed at every step of a checkpoint: the program goes on as
if nothing had been, every image that can be seen is sound, and nothing stays behind."""
# ctest: TIMEOUT 900 PROCESSORS 2 COST 100

import os
import time

import faults
import torpor_testing
from faults import CHECKPOINT_STEPS, EXIT_OF_ACTION, IO, INTERNAL, KILLED, FaultTest


class CheckpointSteps(FaultTest):
    """By the command itself, of a program that nobody supervises."""

    def fail_at_all_steps(self, action: str, *options: str) -> None:
        steady = self.start_steady()
        first = self.checkpoint_ok(steady)
        first_image = f"{self.NAME}@{self.generations()[-1]}"
        before = self.pictures(steady)
        # A program that is to be killed does not go on before that.
        for step in [step for step in CHECKPOINT_STEPS if step != "resume" or "--kill" not in options]:
            with self.case(step):
                known = self.generations()
                fault = f"checkpoint.{step}:{action}"
                done = self.checkpoint(steady.pid, "--name", self.NAME, "--keep", "99", *options,
                                       fault=fault)
                self.assertEqual(done.returncode, EXIT_OF_ACTION[action], done.stderr)
                if action != "kill":
                    self.assert_said(done, EXIT_OF_ACTION[action], f"checkpoint.{step}")
                if step == "committed":
                    self.assertEqual(len(self.generations()), len(known) + 1)
                else:
                    self.assertEqual(self.generations(), known)
                self.assert_unharmed(steady, before, fault)
                self.assert_no_processes(fault)
                self.assert_images_sound(1)
                if action != "kill":
                    self.assert_nothing_left(fault)
        self.assert_restarts(first_image, *first)
        last = self.checkpoint_ok(steady, "--kill")
        self.assert_nothing_left()
        self.assert_restarts(self.NAME, *last)
        self.assert_nothing_left()

    def test_killed(self):
        self.fail_at_all_steps("kill")

    def test_failure(self):
        self.fail_at_all_steps("fail")

    def test_disk_full(self):
        self.fail_at_all_steps("full")

    def test_program_is_not_ended_without_an_image(self):
        """The same where the program was to be ended afterwards."""
        for action in ("kill", "fail"):
            with self.case(action):
                self.fail_at_all_steps(action, "--kill")

    def test_killed_at_any_moment(self):
        steady = self.start_steady("--mib", "4")
        begun = time.monotonic()
        first = self.checkpoint_ok(steady)
        longest = time.monotonic() - begun
        before = self.pictures(steady)
        command = self.torpor_command("checkpoint", steady.pid, "--name", self.NAME, "--keep", "2")
        for seconds in self.moments(60, longest):
            with self.case(f"after {seconds:.6f} s"):
                self.run_and_kill(command, seconds)
                self.assert_unharmed(steady, before, area_may_stay=True)
                before = self.pictures(steady)
                self.assert_no_processes()
                self.assert_images_sound(1)
        last = self.checkpoint_ok(steady, "--kill")
        self.assert_nothing_left()
        self.assert_restarts(self.NAME, *last)
        self.assertLessEqual(first[0], last[0])


class SupervisorSteps(FaultTest):
    """By the supervisor of a launched program, which is its parent."""

    uid = torpor_testing.ORDINARY_UID if os.geteuid() == 0 else None

    def test_killed(self):
        for step in CHECKPOINT_STEPS:
            with self.case(step):
                self.supervisor_is_killed_at(step)

    def supervisor_is_killed_at(self, step: str) -> None:
        steady = self.launch_steady(fault=f"checkpoint.{step}:kill")
        before = self.pictures(steady)
        known = self.generations()
        done = self.checkpoint(self.NAME)
        self.assertGreaterEqual(done.returncode, 100, done.stderr)
        self.assert_said(done, done.returncode, self.NAME, "try:")
        self.assertEqual(self.wait(steady.process), KILLED)
        for pid, picture in before.items():
            picture["status"]["PPid"] = faults.picture_of(pid)["status"]["PPid"]
        self.assert_unharmed(steady, before)
        self.assertEqual(len(self.generations()), len(known) + (step == "committed"))
        self.assertEqual(self.torpor_json("ps"), [])
        # Nobody's now; it can still be saved, and goes on from there under the same name.
        last = self.checkpoint_ok(steady, "--kill")
        self.assert_restarts(self.NAME, *last)
        self.assert_nothing_left(step)

    def test_failure(self):
        for action, status in (("fail", INTERNAL), ("full", IO)):
            for step in CHECKPOINT_STEPS:
                with self.case(step, action):
                    self.supervisor_fails_at(step, action, status)

    def supervisor_fails_at(self, step: str, action: str, status: int) -> None:
        steady = self.launch_steady(fault=f"checkpoint.{step}:{action}")
        before = self.pictures(steady)
        known = self.generations()
        for _ in range(2):  # it can be asked again
            self.assert_said(self.checkpoint(self.NAME), status, f"checkpoint.{step}")
            self.assert_unharmed(steady, before)
        self.assertEqual(len(self.generations()) == len(known), step != "committed")
        self.assertIn(f"checkpoint.{step}", str(self.torpor_json("ps")) +
                      ("" if step != "committed" else f"checkpoint.{step}"))
        steady.end()
        self.assert_nothing_left(step)


torpor_testing.for_each_user(CheckpointSteps)
del CheckpointSteps

if __name__ == "__main__":
    torpor_testing.main()
