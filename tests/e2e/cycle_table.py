#!/usr/bin/python3
"""The main promise in a plain container, from launch to restart: no ptrace, no namespaces, no capabilities.
The program has other ids on the host each time, and does not know.

usage: cycle_table.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: tokens registers vfork_loop forkstorm static_glibc static_musl python go java node
# ctest-for-each: sh_bash pipeline sqlite cproject
# ctest: TIMEOUT 600 PROCESSORS 2 COST 50

import disturbed
from cycle import PROGRAMS, Cycle


class CycleTable(Cycle):
    cycles = 4
    only_as_user = True
    launch_options = ["--mode", "wrapped"]
    environment_letter = "c"
    restart_options = ["--identity", "table"]
    restart_environment = "c"


if __name__ == "__main__":
    disturbed.main(CycleTable, PROGRAMS)
