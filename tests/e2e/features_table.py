#!/usr/bin/python3
"""The feature test in a plain container, from launch to restart (cycle_table.py).

usage: features_table.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: blocked_calls creds daemon dead_leader dispositions fds hostile_signals pending_signals
# ctest-for-each: process_tree signalfds socketpairs unixsockets stopped ptys clocks itimers timerfds sandbox

import disturbed
import features

# /proc/uptime is the host's there.
OPTIONS = features.OPTIONS | {"clocks": "--max-jump 5 --uptime 0"}


class FeaturesTable(features.Features):
    only_as_user = True
    launch_options = ["--mode", "wrapped"]
    environment_letter = "c"
    restart_options = ["--identity", "table"]
    restart_environment = "c"


if __name__ == "__main__":
    disturbed.main(FeaturesTable, disturbed.features(OPTIONS) | {"hostile_signals": {"cycles": 10}})
