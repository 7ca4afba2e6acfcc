#!/usr/bin/python3
"""A program that is checkpointed while it runs, and goes on, never knows: each of the programs of one
feature each is checkpointed several times, and ends as if undisturbed.

forkstorm is one that forks, executes others and reaps without pause, through a hundred checkpoints.

usage: continue.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: proclist argv_env creds pending_signals dispositions hostile_signals fds deleted_file directories
# ctest-for-each: sandbox devices pipes fifos ptys socketpairs unixsockets eventfds epolls signalfds memory_anonymous
# ctest-for-each: memory_shared memory_files memory_zeros memory_fork memory_layout private_file_zero
# ctest-for-each: process_tree stopped daemon dead_leader thread_attrs inflight_vfork blocked_calls clocks
# ctest-for-each: itimers timerfds pidfds forkstorm
# ctest: TIMEOUT 600

import time

import disturbed
from disturbed import DisturbedTest

DEFAULT_CHECKPOINTS = 4
SECONDS = 2
FORKSTORM_CHECKPOINTS = {"user": 100, "root": 25}
FORKSTORM_SECONDS = 400  # at most: it is told to end when the checkpoints have been taken

# The pause is in what the clocks show, and the machine may be busy: a timer that is begun anew would be
# late by much more. Blocked calls are compared with a sleep in the same program.
OPTIONS = {
    "blocked_calls": "--block-ms 1000 --tolerance-ms 50",
    "clocks": "--max-jump 1",
    "itimers": "--max-pause-ms 2000",
    "timerfds": "--tolerance-ms 250",
}


class Continue(DisturbedTest):
    all_checkpoints = None  # by user: so many are taken, however long it takes

    def setUp(self):
        usual = DEFAULT_CHECKPOINTS
        if self.all_checkpoints:
            usual = self.all_checkpoints["root" if self.is_root() else "user"]
        self.wanted = disturbed.settings().cycles or usual
        # What forkstorm writes does not depend on how long it runs.
        undisturbed = 1 if self.all_checkpoints else max(SECONDS, self.wanted // 4)
        self.options = [*self.options, "--seconds", str(undisturbed)]
        super().setUp()

    def test_continue(self):
        expected = self.run_undisturbed()
        if not self.all_checkpoints:
            self.assertGreater(self.one_run(expected, expected.seconds), 0, "no checkpoint was taken")
            return
        stop_file = self.directory / "stop"
        limits = ["--seconds", str(FORKSTORM_SECONDS), "--stop-file", str(stop_file)]
        self.command = disturbed.with_options(self.command, limits)
        self.assertEqual(self.one_run(expected, FORKSTORM_SECONDS, stop_file), self.wanted)

    def one_run(self, expected, seconds: float, stop_file=None) -> int:
        """Runs the program to its end, with at most so many checkpoints as wanted; how many it were."""
        process = self.launch()
        mean = 0.1 if stop_file else seconds / (4 * self.wanted)
        done = 0
        while done < self.wanted:
            time.sleep(self.random.uniform(0, 2 * mean))
            if process.poll() is not None or not self.checkpoint(process):
                break
            done += 1
        if stop_file:
            stop_file.touch()
        status = self.wait_for_end(process, f"after {done} checkpoints",
                                   seconds + disturbed.END_PATIENCE)
        self.assert_as_undisturbed(status, expected)
        self.assert_nothing_left()
        return done


if __name__ == "__main__":
    disturbed.main(Continue, disturbed.features(OPTIONS) | {
        "sandbox": {"only_as_root": True}, "forkstorm": {"all_checkpoints": FORKSTORM_CHECKPOINTS}})
