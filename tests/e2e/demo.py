#!/usr/bin/python3
"""`./dev demo` shows what it says, leaves nothing behind, and would notice if it did not work."""

import os
import pathlib
import re
import shutil
import subprocess

import torpor_testing
from torpor_testing import TorporTest

# Stands in for torpor, and restarts a program at its beginning.
FORGETFUL = """#!/bin/sh
if [ "$1" = restart ]; then exec /usr/bin/python3 primes.py 24 0; fi
exec {torpor} "$@"
"""


class Demo(TorporTest):
    def run_demo(self, torpor: str) -> subprocess.CompletedProcess:
        demo = pathlib.Path(shutil.copytree(pathlib.Path(os.environ["TORPOR_SOURCE"], "demo"),
                                            self.directory / "demo"))
        return subprocess.run(self.user_command(demo / "run.sh"), check=False, timeout=120, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(self.environment, TORPOR=torpor), cwd=self.directory)

    def assert_nothing_left(self) -> None:
        self.assertEqual(list((self.directory / "tmp").iterdir()), [])
        self.assertEqual(self.leftover_processes(), [])

    def test_program_goes_on(self):
        done = self.run_demo(self.torpor_path)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stderr, "")
        first, second = done.stdout.split("$ torpor restart primes")
        self.assertRegex(first, r"primes@1: .*; 1 processes, 5 threads")
        ends = re.compile(r"\| +\d+ primes below +(\d+)")
        before = [int(end) for end in ends.findall(first)]
        after = [int(end) for end in ends.findall(second)]
        self.assertEqual(before, list(range(2000, 2000 * len(before) + 1, 2000)))
        self.assertEqual(after, list(range(after[0], 48001, 2000)))
        self.assertGreater(after[0], 10000)
        self.assertLessEqual(after[0], before[-1])
        self.assert_nothing_left()

    def test_a_program_that_does_not_go_on_is_noticed(self):
        path = self.directory / "forgetful"
        path.write_text(FORGETFUL.format(torpor=self.torpor_path))
        path.chmod(0o755)
        done = self.run_demo(str(path))
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("went on from before the checkpoint", done.stderr)
        self.assert_nothing_left()


torpor_testing.for_each_user(Demo)
del Demo

if __name__ == "__main__":
    torpor_testing.main()
