#!/usr/bin/python3
"""Images and files that are not as they would have to be, at a restart from inside in a plain container:
each is said, nothing has run, and nothing stays behind."""
# ctest: TIMEOUT 600 PROCESSORS 2

import damaged_image
import faults
import torpor_testing
import unfit_host


class DamagedImageTable(faults.FromInside, damaged_image.DamagedImage):
    pass


class UnfitHostTable(faults.FromInside, unfit_host.UnfitHostAsUser):
    # What this is a way out of; and what is checkpointed from outside there.
    test_no_ptrace = test_no_ptrace_for_a_restart = test_no_user_namespaces = None


if __name__ == "__main__":
    torpor_testing.main()
