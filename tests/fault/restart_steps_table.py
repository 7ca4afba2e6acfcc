#!/usr/bin/python3
"""torpor fails, finds the disk full or is killed at every step of a restart from inside, in a plain
container: nothing of the program has run, nothing stays behind, and the image is as good as before."""
# ctest: TIMEOUT 600 PROCESSORS 2

import faults
import restart_steps
import torpor_testing


class RestartStepsTable(faults.FromInside, restart_steps.RestartStepsAsUser):
    pass


if __name__ == "__main__":
    torpor_testing.main()
