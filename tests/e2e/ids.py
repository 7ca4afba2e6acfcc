#!/usr/bin/python3
"""Programs whose ids are all other ones than the kernel's, without any restart: they see one id for each
process, whoever tells it, and the supervisor another. Needs a build with fault points."""

# ctest: TIMEOUT 600

import os
import pathlib
import unittest

import torpor_testing
from torpor_testing import TorporTest

APART = 100000
PROGRAMS = pathlib.Path(os.environ["TORPOR_PROGRAMS"])
# What is written about a pid table's holes in docs/pid-table.md, and these programs look at: the text of
# /proc/self/fdinfo (pidfds), robust futexes of a killed process (thread_attrs). dispositions: a SIGSYS of
# the program's own, which needs no table to fail.
HOLES = {"pidfds", "thread_attrs", "dispositions"}


def programs() -> dict[str, list[str]]:
    lines = (PROGRAMS / "programs.txt").read_text().splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines if line}


class Ids(TorporTest):
    def launch(self, *command):
        return self.torpor("launch", "--mode", "wrapped", "--", *command,
                           env=self.environment | {"TORPOR_IDS": str(APART)})

    def test_every_program(self):
        if self.is_root():
            self.skipTest("root would go the same way as an ordinary user, for whom it runs")
        for name, command in programs().items():
            if name in HOLES:
                continue
            with self.subTest(program=name):
                done = self.launch(*command, "--seconds", "1")
                self.assertIn(done.returncode, (0, 77), done.stderr)

    def test_the_ids_are_other_ones(self):
        # The text of /proc/self/stat is the kernel's (a hole of the table).
        seen = self.launch("sh", "-c", 'read real rest < /proc/self/stat; echo $$ $real').stdout.split()
        self.assertEqual(int(seen[0]), int(seen[1]) + APART)

    def test_shell_with_job_control(self):
        script = """set -m
            trap 'echo child' CHLD
            sleep 100 & first=$!
            sleep 0.1 & wait $!
            jobs -p | grep -qx $first && echo listed
            kill %1; wait $first; echo $?
            (exit 7) & wait -n; echo $?"""
        done = self.launch("bash", "-c", script)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([line for line in done.stdout.split() if line != "child"],
                         ["listed", "143", "7"])
        self.assertIn("child", done.stdout)

    def test_killing_everybody_ends_nobody_else(self):
        done = self.launch("bash", "-c", "sleep 100 & kill -TERM -1; wait $!; echo $?")
        self.assertEqual(done.stdout.split()[-1:], ["143"], done.stderr)


torpor_testing.for_each_user(Ids)
del Ids

if __name__ == "__main__":
    torpor_testing.main()
