#!/usr/bin/python3
"""The feature test in a plain container, from launch to restart (cycle_table.py).

usage: features_table.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: argv_env blocked_calls clocks creds daemon dead_leader deleted_file directories dispositions
# ctest-for-each: epolls eventfds fds fifos itimers memory_anonymous memory_files memory_shared pending_signals
# ctest-for-each: pidfds pipes process_tree signalfds socketpairs thread_attrs timerfds

import disturbed
import features


class FeaturesTable(features.Features):
    only_as_user = True
    launch_options = ["--mode", "wrapped"]
    environment_letter = "c"
    restart_options = ["--identity", "table"]
    restart_environment = "c"


if __name__ == "__main__":
    disturbed.main(FeaturesTable, disturbed.features(features.OPTIONS))
