#!/usr/bin/python3
"""The cycle test where the host lets nobody read the memory of others by process_vm_readv, take their
descriptors or compare them (kcmp), while ptrace is allowed: environment d. A few programs.

usage: hardened_cycle.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: python go sh_bash tokens
# ctest: TIMEOUT 900 PROCESSORS 2 COST 60

import cycle
import disturbed


class HardenedCycle(cycle.Cycle):
    environment_of_all = "d"
    cycles = 4
    only_as_user = True


if __name__ == "__main__":
    disturbed.main(HardenedCycle, cycle.PROGRAMS)
