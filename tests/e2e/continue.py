#!/usr/bin/python3
"""A program that is checkpointed while it runs, and goes on, never knows: each of the programs of one
feature each is checkpointed several times, and ends as if undisturbed.

forkstorm is one that forks, executes others and reaps without pause, through a hundred checkpoints.

usage: continue.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: proclist argv_env creds pending_signals dispositions fds deleted_file directories
# ctest-for-each: devices pipes fifos socketpairs eventfds epolls signalfds memory_anonymous
# ctest-for-each: memory_shared memory_files memory_zeros memory_fork memory_layout private_file_zero
# ctest-for-each: process_tree daemon dead_leader thread_attrs inflight_vfork blocked_calls clocks
# ctest-for-each: itimers timerfds pidfds forkstorm
# ctest: TIMEOUT 600

import time

import disturbed
from disturbed import DisturbedTest

DEFAULT_CHECKPOINTS = 4
SECONDS = 2
FORKSTORM_CHECKPOINTS = 100
FORKSTORM_SECONDS = (25, 60, 180)  # on a slow machine another try with more time

# The pause is in what the clocks show, and the machine may be busy: a timer that is begun anew would be
# late by much more. Blocked calls are compared with a sleep in the same program.
OPTIONS = {
    "blocked_calls": "--block-ms 1000 --tolerance-ms 50",
    "clocks": "--max-jump 1",
    "itimers": "--max-pause-ms 1000",
    "timerfds": "--tolerance-ms 250",
}


class Continue(DisturbedTest):
    checkpoints = DEFAULT_CHECKPOINTS
    seconds = None  # how long the program runs, one after another until all checkpoints were taken

    def setUp(self):
        self.wanted = disturbed.settings().cycles or self.checkpoints
        # What forkstorm writes does not depend on how long it runs.
        undisturbed = 1 if self.seconds else max(SECONDS, self.wanted // 4)
        self.options = [*self.options, "--seconds", str(undisturbed)]
        super().setUp()

    def test_continue(self):
        expected = self.run_undisturbed()
        if not self.seconds:
            self.assertGreater(self.one_run(expected, expected.seconds), 0, "no checkpoint was taken")
            return
        for seconds in self.seconds:
            self.command = disturbed.with_options(self.command, ["--seconds", str(seconds)])
            done = self.one_run(expected, seconds)
            print(f"{self.name}: {done} checkpoints in {seconds} s", flush=True)
            if done == self.wanted:
                return
        self.fail(f"only {done} checkpoints in {seconds} s")

    def one_run(self, expected, seconds: float) -> int:
        """Runs the program to its end, with at most so many checkpoints as wanted; how many it were."""
        process = self.launch()
        done = 0
        while done < self.wanted:
            time.sleep(self.random.uniform(0, seconds / (2 * self.wanted)))
            if process.poll() is not None or not self.checkpoint(process):
                break
            done += 1
        status = self.wait_for_end(process, f"after {done} checkpoints",
                                   seconds + disturbed.END_PATIENCE)
        self.assert_as_undisturbed(status, expected)
        self.assert_nothing_left()
        return done


if __name__ == "__main__":
    disturbed.main(Continue, disturbed.features(OPTIONS) | {
        "forkstorm": {"checkpoints": FORKSTORM_CHECKPOINTS, "seconds": FORKSTORM_SECONDS}})
