#!/usr/bin/python3
"""Fifty checkpoints while a thread waits in one and the same system call, one thread for each call that
blocks: none returns EINTR, none comes early or late. In the wrapped mode in a plain container, as no signal
handler of the program's would let these calls go on; and in the external mode.

What cannot be saved makes every checkpoint fail, by name, and is not disturbed either: system_v_calls is
found out when all is stopped, unsaved_calls before.

usage: long_waits.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: blocked_calls system_v_calls unsaved_calls
# ctest: TIMEOUT 300

import time

import disturbed
from torpor_testing import REFUSED

CHECKPOINTS = 50
LONGEST = 60.0  # seconds of a call, if so many are needed for all checkpoints
PROGRAMS = {
    "blocked_calls": {"seconds": 6.0},
    "system_v_calls": {"refused": "System V"},
    "unsaved_calls": {"refused": "not supported yet"},
}


class LongWaits(disturbed.DisturbedTest):
    only_as_user = True
    seconds = 2.0  # of the shortest call, at first
    refused = ""  # why, if every checkpoint is
    options = ["--seconds", "0", "--step-ms", "5", "--tolerance-ms", "150"]

    def test_wrapped(self):
        self.launch_options, self.environment_letter = ["--mode", "wrapped"], "c"
        self.wait_through_checkpoints()

    def test_external(self):
        self.launch_options = ["--mode", "external"]
        self.wait_through_checkpoints()

    def wait_through_checkpoints(self):
        expected = self.run_undisturbed()
        seconds = self.seconds
        while not self.one_run(expected, seconds):
            seconds *= 2
            self.assertLessEqual(seconds, LONGEST, "the calls always end before the last checkpoint")

    def one_run(self, expected, seconds: float) -> bool:
        """The program to its end, its shortest call lasting so long; whether all checkpoints were in it."""
        self.command = disturbed.with_options(self.command, ["--block-ms", str(int(seconds * 1000))])
        began = time.monotonic()
        process = self.launch()
        self.wait_until_ready(process)
        done = 0
        while done < CHECKPOINTS and time.monotonic() < began + seconds:
            time.sleep(self.random.uniform(0, 0.01))
            if not self.one_checkpoint(process):
                break
            done += 1
        in_time = done == CHECKPOINTS and time.monotonic() < began + seconds
        print(f"{self.id()}: {done} checkpoints in {time.monotonic() - began:.1f} s", flush=True)
        status = self.wait_for_end(process, f"after {done} checkpoints", seconds + disturbed.END_PATIENCE)
        self.assert_as_undisturbed(status, expected)
        self.assert_nothing_left()
        return in_time

    def wait_until_ready(self, process) -> None:
        disturbed.torpor_testing.wait_until(
            lambda: process.poll() is not None or self.output("disturbed").startswith(b"ready"),
            "the calls begin")

    def one_checkpoint(self, process) -> bool:
        """False if the program has ended."""
        if not self.refused:
            return self.checkpoint(process)
        done = self.torpor("checkpoint", "it")
        if done.returncode in (disturbed.NOT_FOUND, disturbed.PROGRAM_GONE) and self.ends_by_itself(process):
            return False
        self.assert_fails(done, REFUSED, self.refused)
        return True


if __name__ == "__main__":
    disturbed.main(LongWaits, PROGRAMS)
