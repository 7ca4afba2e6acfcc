#!/usr/bin/python3
"""Computations of the wrapped mode in a plain container: in the hands of another supervisor than the one that
launched them, stopped by a signal, and with programs in them that have no agent."""
# ctest: TIMEOUT 300

import os
import pathlib
import shutil
import signal
import subprocess
import unittest

import torpor_testing
from torpor_testing import REFUSED, TorporTest, descendants, is_alive, process_state, wait_until

COUNTER = """
import itertools, time
for count in itertools.count():
    print(count, flush=True)
    time.sleep(0.01)
"""

# Reads a byte and exits with 7.
I386 = """
    .globl _start
_start:
    mov $3, %eax
    xor %ebx, %ebx
    mov $byte, %ecx
    mov $1, %edx
    int $0x80
    mov $1, %eax
    mov $7, %ebx
    int $0x80
    .bss
byte: .byte 0
"""


class WrappedSupervision(TorporTest):
    uid = torpor_testing.ORDINARY_UID if os.geteuid() == 0 else None
    environment_of_all = "c"

    def launch(self, *command, **options) -> int:
        """The pid of its root."""
        self.out = open(self.directory / "out", "wb+")  # pylint: disable=consider-using-with
        self.addCleanup(self.out.close)
        if self.uid is not None:
            os.fchown(self.out.fileno(), self.uid, self.uid)
        self.supervisor = self.start_torpor("launch", "--mode", "wrapped", "--name", "c", "--", *command,
                                            stdout=self.out, **options)
        return self.computation("c")["pid"]

    def output(self) -> list[str]:
        return (self.directory / "out").read_text().splitlines()

    def wait_for_more(self, lines: int = 5) -> None:
        wanted = len(self.output()) + lines
        wait_until(lambda: len(self.output()) >= wanted, "the program goes on")

    def assert_counts(self) -> None:
        """Nothing twice, nothing left out."""
        numbers = [int(line) for line in self.output()]
        self.assertEqual(numbers, list(range(len(numbers))))

    def end(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "it has ended")

    # --- another supervisor

    def test_another_supervisor(self):
        root = self.launch("python3", "-c", COUNTER)
        self.torpor_ok("checkpoint", "c")
        for attempt in range(3):
            self.supervisor.kill()
            self.wait(self.supervisor)
            self.wait_for_more()
            self.supervisor = self.start_torpor("attach", root, "--name", f"c{attempt}")
            self.computation(f"c{attempt}")
            for _ in range(2):
                self.torpor_ok("checkpoint", f"c{attempt}")
                self.wait_for_more()
        self.torpor_ok("checkpoint", "c2", "--kill")
        self.assertEqual(self.wait(self.supervisor), 0)
        self.assertFalse(is_alive(root))
        self.assert_counts()
        self.environment_of_all = None  # where it can be brought back
        restored = self.start_torpor("restart", "c2", "--detach")
        self.assertEqual(self.wait(restored), 0, restored.stderr.read())
        self.wait_for_more()
        self.assert_counts()
        self.end(self.computation("c2")["pid"])

    def test_a_command_of_its_own(self):
        root = self.launch("python3", "-c", COUNTER)
        self.supervisor.kill()
        self.wait(self.supervisor)
        self.torpor_ok("checkpoint", root, "--name", "d")
        self.wait_for_more()
        self.assert_counts()
        self.end(root)

    # --- stopped by a signal

    def test_stopped(self):
        root = self.launch("python3", "-c", COUNTER)
        self.wait_for_more()
        os.kill(root, signal.SIGSTOP)
        wait_until(lambda: process_state(root) == "T", "it is stopped")
        lines = len(self.output())
        for _ in range(3):
            self.torpor_ok("checkpoint", "c")
            self.assertEqual(process_state(root), "T")
        self.assertEqual(len(self.output()), lines)
        self.assertIn("stopped", self.torpor_ok("inspect", "c", "tree"))
        os.kill(root, signal.SIGCONT)
        self.wait_for_more()
        self.torpor_ok("checkpoint", "c")
        self.assert_counts()
        self.end(root)

    # --- programs without an agent, or without their privilege

    def child_of(self, root: int, name: str) -> int:
        def look():
            return [pid for pid in descendants(root)
                    if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name]
        return wait_until(look, f"{name} runs")[0]

    def i386_program(self) -> str:
        source, made = self.directory / "i386.s", self.directory / "i386"
        source.write_text(I386)
        try:
            subprocess.run(["as", "--32", "-o", f"{made}.o", source], check=True)
            subprocess.run(["ld", "-m", "elf_i386", "-o", made, f"{made}.o"], check=True)
            self.assertEqual(subprocess.run([made], stdin=subprocess.DEVNULL, check=False).returncode, 7)
        except OSError as error:
            raise unittest.SkipTest(f"no 32-bit programs here: {error}") from error
        made.chmod(0o755)
        return str(made)

    def test_program_of_32_bits(self):
        script = f"{self.i386_program()}; echo $?; read line; echo $line"
        root = self.launch("sh", "-c", script, stdin=subprocess.PIPE)
        stranger = self.child_of(root, "i386")
        self.assert_fails(self.torpor("checkpoint", "c"), REFUSED, str(stranger), "resident agent")
        self.assertTrue(is_alive(stranger))
        self.supervisor.stdin.write(b"x")
        self.supervisor.stdin.flush()
        wait_until(lambda: self.output() == ["7"], "it has ended by itself")
        self.torpor_ok("checkpoint", "c")
        self.supervisor.stdin.write(b"end\n")
        self.supervisor.stdin.flush()
        self.assertEqual(self.wait(self.supervisor), 0)
        self.assertEqual(self.output(), ["7", "end"])

    @unittest.skipIf(os.geteuid() != 0, "only root can make a setuid program")
    def test_setuid_program(self):
        """It runs as its user, as everywhere under no_new_privs, and like any other."""
        program = self.directory / "privileged"
        shutil.copy("/usr/bin/cat", program)
        program.chmod(0o4755)
        root = self.launch("sh", "-c", f"{program}; echo $?", stdin=subprocess.PIPE)
        child = self.child_of(root, "privileged")
        status = pathlib.Path(f"/proc/{child}/status").read_text()
        self.assertIn("\nUid:" + 4 * f"\t{self.uid}" + "\n", status)
        self.torpor_ok("checkpoint", "c")
        self.supervisor.stdin.write(b"line\n")
        self.supervisor.stdin.close()
        self.assertEqual(self.wait(self.supervisor), 0)
        self.assertEqual(self.output(), ["line", "0"])


if __name__ == "__main__":
    torpor_testing.main()
