#!/usr/bin/python3
"""Nothing noticed, in the wrapped mode: in a plain container the programs of one feature each are stopped
from inside several times, and end as if undisturbed.

usage: continue_wrapped.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: proclist creds pending_signals dispositions hostile_signals fds pipes socketpairs epolls signalfds
# ctest-for-each: memory_anonymous memory_shared memory_fork process_tree stopped daemon dead_leader thread_attrs
# ctest-for-each: inflight_vfork blocked_calls clocks itimers timerfds pidfds forkstorm sandbox
# ctest: TIMEOUT 600

import importlib

import disturbed

undisturbed = importlib.import_module("continue")


class ContinueWrapped(undisturbed.Continue):
    launch_options = ["--mode", "wrapped"]
    environment_letter = "c"
    only_as_user = True


if __name__ == "__main__":
    disturbed.main(ContinueWrapped, disturbed.features(undisturbed.OPTIONS) | {
        "forkstorm": {"all_checkpoints": {"user": 30, "root": 10}},
        "hostile_signals": {"all_checkpoints": {"user": 100, "root": 100}}})
