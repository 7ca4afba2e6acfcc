#!/usr/bin/python3
"""The wrapped mode where nothing else works: launched in a plain container a program is saved at random
moments, from inside, ended, and brought back from outside. In the end nobody can tell.

usage: cycle_wrapped.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: tokens registers vfork_loop forkstorm static_glibc static_musl python go java node
# ctest-for-each: sh_bash pipeline sqlite cproject stopped process_tree
# ctest: TIMEOUT 600 PROCESSORS 2 COST 50

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
        done = 0
        for _ in range(3):
            if not self.work_for_a_while(process, expected.seconds / 12) or not self.checkpoint(process):
                break
        else:
            end = self.end_by_crash if self.crash and wanted % 2 else self.end_by_kill_option
            if self.work_for_a_while(process, expected.seconds / 12) and end(process):
                done = 1
                process = self.restart()
        status = self.wait_for_end(process, f"after {done} cycles",
                                   expected.seconds + disturbed.END_PATIENCE)
        self.assert_as_undisturbed(status, expected)
        self.assert_nothing_left()
        return done


if __name__ == "__main__":
    disturbed.main(CycleWrapped, PROGRAMS | {"stopped": {}, "process_tree": {}})
