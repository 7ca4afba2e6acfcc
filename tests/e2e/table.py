#!/usr/bin/python3
"""Restarts with a pid table: images of either mode in a plain container, and the reverse; two restarts of
one image beside each other."""

# ctest: TIMEOUT 300

import signal
import time

import torpor_testing
from torpor_testing import TorporTest

COUNTS = """import os, time
for i in range(40):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(0.1)
os.system("echo $PPID")
"""


class Table(TorporTest):
    def launched(self, around: list[str], mode: str, out):
        command = self.user_command(*around, self.torpor_path, "launch", "--mode", mode, "--name", "it",
                                    "--", "/usr/bin/python3", "-c", COUNTS)
        process = self.start(command, stdout=out)
        torpor_testing.wait_until(lambda: out_lines(out), "it has begun to count", 20)
        return process

    def saved(self, around: list[str], mode: str, out) -> None:
        process = self.launched(around, mode, out)
        self.torpor_ok("checkpoint", "--kill", "it")
        self.assertEqual(process.wait(20), 128 + signal.SIGKILL)

    def restarted(self, around: list[str], identity: str, name: str):
        command = self.user_command(*around, self.torpor_path, "restart", "it", "--name", name,
                                    "--identity", identity)
        return self.start(command)

    def check(self, process, out) -> None:
        said, words = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, f"{said} {words}")
        lines = out_lines(out)
        self.assertEqual(len(set(lines)), 1, lines)
        self.assertGreaterEqual(len(lines), 41)

    def output(self):
        path = self.directory / "counted"
        path.touch()
        path.chmod(0o666)
        return open(path, "a+", encoding="ascii")

    def test_image_of_the_external_mode_in_a_container(self):
        if self.is_root():
            self.skipTest("root's capabilities are not to be had in a container")
        with self.output() as out:
            self.saved([], "external", out)
            self.check(self.restarted(self.environment_command("c"), "table", "it"), out)

    def test_image_of_a_container_in_the_external_mode(self):
        with self.output() as out:
            self.saved(self.environment_command("c"), "wrapped", out)
            self.check(self.restarted([], "namespace", "it"), out)

    def test_chosen_by_itself_in_a_container(self):
        with self.output() as out:
            self.saved(self.environment_command("c"), "auto", out)
            self.check(self.restarted(self.environment_command("c"), "auto", "it"), out)

    def test_clocks_far_from_the_hosts(self):
        """Ahead by eleven days, or behind; by the table, and then in a time namespace."""
        if self.is_root():
            self.skipTest("root would go the same way as an ordinary user, for whom it runs")
        for ahead_ms in ("1000000000", "-1500"):
            with self.subTest(ahead_ms=ahead_ms), self.output() as out:
                out.truncate(0)
                self.go_on_with_clocks(ahead_ms, out)

    def go_on_with_clocks(self, ahead_ms: str, out) -> None:
        around = self.environment_command("c")
        program = [self.program("clocks"), "--seconds", "3", "--max-jump", "5", "--uptime", "0"]
        command = self.user_command(*around, self.torpor_path, "launch", "--mode", "wrapped", "--name", "it",
                                    "--", *program)
        process = self.start(command, stdout=out,
                             env=self.environment | {"TORPOR_IDS": "1000", "TORPOR_CLOCKS": ahead_ms})
        torpor_testing.wait_until(lambda: out_lines(out) == ["ready"], "it has begun to look", 20)
        self.torpor_ok("checkpoint", "--kill", "it")
        for identity in ("table", "namespace"):
            process = self.restarted(around if identity == "table" else [], identity, "it")
            self.computation("it")
            if identity == "table":
                self.torpor_ok("checkpoint", "--kill", "it")
        _, words = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out_lines(out)), (0, ["ready", "ok"]), words)

    def test_two_at_the_same_time(self):
        around = self.environment_command("c")
        with self.output() as out:
            self.saved(around, "wrapped", out)
            began = len(out_lines(out))
            both = [self.restarted(around, "table", name) for name in ("one", "two")]
            time.sleep(0.5)
            self.assertEqual([process.poll() for process in both], [None, None])
            for process in both:
                said, words = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 0, f"{said} {words}")
            lines = out_lines(out)
            self.assertEqual(len(set(lines)), 1, lines)
            self.assertGreaterEqual(len(lines), began + 2 * (41 - began - 1))


def out_lines(out) -> list[str]:
    with open(out.name, encoding="ascii") as file:
        return file.read().split()


torpor_testing.for_each_user(Table)
del Table

if __name__ == "__main__":
    torpor_testing.main()
