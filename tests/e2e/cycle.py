#!/usr/bin/python3
"""The main promise: at random moments a program is saved to disk, ended, and brought back, again and
again, and in the end nobody can tell.

usage: cycle.py [PROGRAM...] [--seed N] [--cycles N] [--only root|user]
"""
# ctest-for-each: tokens tokens_5000 registers vfork_loop forkstorm static_glibc static_musl python go rust java
# ctest-for-each: node perl sh_dash sh_bash mawk gawk pipeline sqlite cproject compress
# ctest: TIMEOUT 900 PROCESSORS 2 COST 100

import disturbed
from disturbed import DisturbedTest

# Programs that write into files of their own cannot lose what they did after a checkpoint: their
# files would be of another time than they. Only `--kill` is right for them.
WRITES_FILES = {"crash": False}
TOO_SHORT = 6  # runs that end before their checkpoint: no longer bad luck
LONGEST = 40   # seconds that a program is asked to work

PROGRAMS = {
    "tokens": {}, "tokens_5000": {"cycles": 3}, "registers": {}, "vfork_loop": {}, "forkstorm": {},
    "static_glibc": {}, "static_musl": {},
    "python": {}, "go": {}, "rust": {}, "java": {}, "node": {}, "perl": {},
    "sh_dash": {}, "sh_bash": {}, "mawk": {}, "gawk": {},
    "pipeline": WRITES_FILES, "sqlite": WRITES_FILES, "cproject": WRITES_FILES, "compress": {},
}


class Cycle(DisturbedTest):
    cycles = 20       # as an ordinary user, as which people run it
    root_cycles = 3
    crash = True  # half of the time the program is not ended by torpor

    def setUp(self):
        usual = min(self.cycles, self.root_cycles) if self.is_root() else self.cycles
        self.wanted = disturbed.settings().cycles or usual
        self.seconds = max(3, self.wanted // 2)
        self.options = ["--seconds", str(self.seconds)]
        super().setUp()

    def test_cycles(self):
        expected = self.run_undisturbed()
        done, runs, in_vain = 0, 0, 0
        while done < self.wanted:
            cycles = self.one_run(expected, self.wanted - done)
            done, runs, in_vain = done + cycles, runs + 1, in_vain + (cycles == 0)
            self.assertLess(in_vain, TOO_SHORT, "the program always ends before the checkpoint")
            if cycles == 0:
                expected = self.run_undisturbed_for_longer()
        print(f"{self.name}: {done} cycles in {runs} runs", flush=True)

    def run_undisturbed_for_longer(self):
        """This host, or what else it does now, is too slow for programs that end so soon."""
        self.seconds = min(2 * self.seconds, LONGEST)
        self.command = disturbed.with_options(self.command, ["--seconds", str(self.seconds)])
        return self.run_undisturbed()

    def one_run(self, expected, wanted: int) -> int:
        """Runs the program to its end, with at most so many cycles; how many there were."""
        process = self.launch(append=self.random.random() < 0.5)
        cycles = 0
        while cycles < wanted and self.work_for_a_while(process, expected.seconds / (2 * wanted)):
            end = self.end_by_crash if self.crash and (cycles & 1) else self.end_by_kill_option
            if not end(process):
                break
            cycles += 1
            process = self.restart()
        status = self.wait_for_end(process, f"after {cycles} cycles",
                                   expected.seconds + disturbed.END_PATIENCE)
        self.assert_as_undisturbed(status, expected)
        self.assert_nothing_left()
        return cycles

    def work_for_a_while(self, process, mean: float) -> bool:
        """Lets the program work for a random time; False if it has ended by then."""
        try:
            process.wait(self.random.uniform(0, 2 * mean))
        except disturbed.subprocess.TimeoutExpired:
            return True
        return False


if __name__ == "__main__":
    disturbed.main(Cycle, PROGRAMS)
