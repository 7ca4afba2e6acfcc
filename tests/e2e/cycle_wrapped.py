#!/usr/bin/python3
"""The wrapped mode where nothing else works: launched in a plain container a program is saved at random
moments, from inside, ended, and brought back from outside. In the end nobody can tell.

usage: cycle_wrapped.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: tokens forkstorm go sqlite stopped process_tree
# ctest: TIMEOUT 600 PROCESSORS 2 COST 50

import time

import disturbed
from cycle import PROGRAMS, Cycle


class CycleWrapped(Cycle):
    cycles = 2
    only_as_user = True
    launch_options = ["--mode", "wrapped"]
    environment_letter = "c"

    def one_run(self, expected, wanted: int) -> int:
        """One way into an image and out of it, with some checkpoints that are not used before."""
        process = self.launch(append=self.random.random() < 0.5)
        its_end = time.monotonic() + expected.seconds
        end = self.end_by_crash if self.crash and wanted % 2 else self.end_by_kill_option
        steps = [self.checkpoint] * 3 + [end]
        while steps and self.work_for_a_part(process, its_end, len(steps)) and steps[0](process):
            steps.pop(0)
        done = 0 if steps else 1
        if done:
            process = self.restart()
        status = self.wait_for_end(process, f"after {done} cycles",
                                   expected.seconds + disturbed.END_PATIENCE)
        self.assert_as_undisturbed(status, expected)
        self.assert_nothing_left()
        return done

    def work_for_a_part(self, process, its_end: float, steps: int) -> bool:
        """Lets the program work for a random part of the time that it has for so many steps more, however
        long those before took; False if it has ended by then."""
        left = max(0.0, its_end - time.monotonic())
        return self.work_for_a_while(process, left / (2 * (steps + 1)))


if __name__ == "__main__":
    disturbed.main(CycleWrapped, PROGRAMS | {"stopped": {}, "process_tree": {}})
