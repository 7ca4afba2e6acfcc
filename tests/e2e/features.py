#!/usr/bin/python3
"""Each of the programs of one feature each is checkpointed, killed and brought back a few times, and
sees nothing of it: what the kernel keeps for a process is there again.

usage: features.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: proclist argv_env creds pending_signals dispositions hostile_signals fds deleted_file directories
# ctest-for-each: devices pipes fifos ptys socketpairs unixsockets eventfds epolls signalfds memory_anonymous
# ctest-for-each: memory_shared memory_files memory_zeros memory_fork memory_layout private_file_zero
# ctest-for-each: sandbox process_tree stopped daemon dead_leader thread_attrs inflight_vfork blocked_calls clocks
# ctest-for-each: itimers timerfds pidfds

import time

import disturbed
from disturbed import DisturbedTest

DEFAULT_CYCLES = 3
SECONDS = 2

# The program's clocks go on while it is brought back, and what ends meanwhile is late by so much, as a
# sleep in the same program is. Calls block for long enough that one that is begun anew would be later
# still. What was in a queue may take less room. Areas may be merged.
OPTIONS = {
    "blocked_calls": "--block-ms 2000 --tolerance-ms 50 --full-queues 0",
    "clocks": "--max-jump 5",
    "itimers": "--max-pause-ms 3000",
    "proclist": "--merge-areas 1",
    "timerfds": "--tolerance-ms 250",
}


class Features(DisturbedTest):
    cycles = DEFAULT_CYCLES

    def setUp(self):
        self.wanted = disturbed.settings().cycles or self.cycles
        self.options = [*self.options, "--seconds", str(max(SECONDS, self.wanted // 2))]
        super().setUp()

    def test_restarts(self):
        expected = self.run_undisturbed()
        process = self.launch()
        done = 0
        while done < self.wanted:
            time.sleep(self.random.uniform(0, expected.seconds / (2 * self.wanted)))
            if process.poll() is not None or not self.end_by_kill_option(process):
                break
            done += 1
            process = self.restart()
        status = self.wait_for_end(process, f"after {done} restarts",
                                   expected.seconds + disturbed.END_PATIENCE)
        self.assert_as_undisturbed(status, expected)
        self.assert_nothing_left()
        self.assertGreater(done, 0, "it was never restarted")


if __name__ == "__main__":
    disturbed.main(Features, disturbed.features(OPTIONS) | {
        "hostile_signals": {"cycles": 10}, "sandbox": {"only_as_root": True}})
