#!/usr/bin/python3
"""Nothing noticed where a container's filter says that there is no clone3 and refuses namespaces, but not
ptrace: environment a. The agent's thread and its fork are then made by clone.

usage: continue_contained.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: process_tree blocked_calls

import importlib

import disturbed

undisturbed = importlib.import_module("continue")


class ContinueContained(undisturbed.Continue):
    environment_of_all = "a"
    only_as_user = True


if __name__ == "__main__":
    disturbed.main(ContinueContained, disturbed.features(undisturbed.OPTIONS))
