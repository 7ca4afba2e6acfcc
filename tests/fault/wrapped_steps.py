#!/usr/bin/python3
"""In the wrapped mode, in a plain container, the supervisor fails or is killed in the midst of a checkpoint:
nobody else holds the program, which lets itself go, and whoever comes next can save it."""
# ctest: TIMEOUT 600 PROCESSORS 2

import time

import checkpoint_steps
import torpor_testing


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

    def test_killed_at_any_moment(self):
        """By commands of their own, once nobody stands by it any more."""
        steady = self.launch_steady("--mib", "4")
        steady.process.kill()
        self.wait(steady.process)
        self.assertEqual(self.torpor_json("ps"), [])
        begun = time.monotonic()
        self.checkpoint_ok(steady)
        longest = time.monotonic() - begun
        before = self.pictures(steady)
        command = self.torpor_command("checkpoint", steady.pid, "--name", self.NAME, "--keep", "2")
        for seconds in self.moments(30, longest):
            with self.case(f"after {seconds:.6f} s"):
                self.run_and_kill(command, seconds)
                self.assert_unharmed(steady, before)
                self.assert_no_processes()
        self.assert_images_sound(1)
        last = self.checkpoint_ok(steady, "--kill")
        self.assert_nothing_left()
        self.assert_restarts(self.NAME, *last)


if __name__ == "__main__":
    torpor_testing.main()
