#!/usr/bin/python3
"""The feature test where the host refuses as it does to hardened_cycle.py: programs that have what must then
be found out in other ways.

usage: hardened_features.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: fds pipes socketpairs epolls memory_shared process_tree dead_leader thread_attrs

import disturbed
import features


class HardenedFeatures(features.Features):
    environment_of_all = "d"
    only_as_user = True


if __name__ == "__main__":
    disturbed.main(HardenedFeatures, disturbed.features(features.OPTIONS))
