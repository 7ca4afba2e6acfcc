#!/usr/bin/python3
"""torpor fails, finds the disk full or is killed at every step of a restart from inside, in a plain
container: nothing of the program has run, nothing stays behind, and the image is as good as before."""
# ctest: TIMEOUT 600 PROCESSORS 2

import restart_steps
import torpor_testing


class RestartStepsTable(restart_steps.RestartStepsAsUser):
    environment_of_all = "c"
    launch_options = ("--mode", "wrapped")

    def torpor_command(self, *words):
        if words[0] == "restart":
            words = (*words, "--identity", "table")
        return super().torpor_command(*words)

    def image_of_killed(self, *options) -> int:
        steady = self.launch_steady(*options)
        self.torpor_ok("checkpoint", self.NAME, "--kill")
        self.wait(steady.process)
        steady.output.thread.join(torpor_testing.PATIENCE)
        steady.check()
        return steady.output.last


if __name__ == "__main__":
    torpor_testing.main()
