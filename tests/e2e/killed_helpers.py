#!/usr/bin/python3
"""What torpor has made is killed instead of torpor itself: a husk at every step of a restart, a frozen
copy while it is written, a process with the agent in it at every step of a checkpoint. It is noticed,
said, and nothing stays behind."""
# ctest: TIMEOUT 600 PROCESSORS 2 COST 100

import contextlib
import hashlib
import os
import pathlib
import select
import signal
import subprocess
import time

import torpor_testing
from faults import CHECKPOINT_STEPS, IO, NOT_FOUND, PROGRAM_GONE, RESTART_STEPS, FaultTest
from torpor_testing import descendants, is_alive, wait_until

PAUSE = 0.2  # of a fault point
HUSKS = 3    # of steady: init or reaper, the program, and its child
ATTEMPTS = 8
CLOCK_NANOSLEEP = ("230", "35")  # or nanosleep
DOCUMENTED = range(101, 110)  # exit codes, without `usage` and `internal`
# In which all husks are there and wait; from `hold` on they are the program's processes.
HUSK_STEPS = RESTART_STEPS[RESTART_STEPS.index("open"):RESTART_STEPS.index("hold") + 1]
FROZEN_STEPS = ("leave", "resume", "write")
LIVING_STEPS = CHECKPOINT_STEPS[1:CHECKPOINT_STEPS.index("resume")]


def system_calls(pid: int) -> list[str]:
    """What each of its threads is in."""
    return [path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/syscall")]


def frozen_copies(_torpor: subprocess.Popen) -> list[int]:
    found = []
    for pid in descendants(os.getpid()):
        try:
            if pathlib.Path(f"/proc/{pid}/comm").read_text() == "torpor-frozen\n":
                found.append(pid)
        except OSError:
            pass  # it has just ended
    return sorted(found)


class KilledHelpers(FaultTest):
    def kill_one(self, fault: str, words: tuple, look, count: int, which: int) -> subprocess.Popen:
        """Starts torpor, stops it in the pause of that fault point, when look() shows so many
        processes, kills one of them, and lets it go on."""
        for _ in range(ATTEMPTS):
            process = self.start_torpor(*words, env=self.with_fault(fault))
            helpers = self.stop_in_pause(process, look, count)
            if helpers:
                os.kill(helpers[which], signal.SIGKILL)
                process.send_signal(signal.SIGCONT)
                return process
            for pid in look(process):  # too late: this machine is busy
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.kill()
            process.wait()
            self.assert_no_processes("too late")
        self.fail(f"{fault}: was never seen")

    def stop_in_pause(self, process: subprocess.Popen, look, count: int) -> list[int]:
        since, seen = time.monotonic(), []
        while time.monotonic() - since < PAUSE / 4 or len(seen) < count:
            if process.poll() is not None or self.has_output(process):
                return []
            now = sorted(filter(is_alive, look(process)))
            if now != seen:
                since, seen = time.monotonic(), now
            time.sleep(0.002)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.02)
        sleeps = any(text.split()[0] in CLOCK_NANOSLEEP for text in system_calls(process.pid))
        return seen if sleeps and sorted(filter(is_alive, look(process))) == seen else []

    def has_output(self, process: subprocess.Popen) -> bool:
        return bool(select.select([process.stdout], [], [], 0)[0])

    def digest(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in self.image_path(1).iterdir()}

    def failure_of(self, process: subprocess.Popen, what: str = r"\S") -> int:
        """The exit code of a torpor that has to say what it failed of."""
        errors = process.communicate(timeout=60)[1].decode()
        self.assertIn(process.returncode, DOCUMENTED, errors)
        self.assertRegex(errors, r"(?m)^torpor: " + what)
        return process.returncode

    def test_husk(self):
        last = self.image_of_killed()
        image = self.digest()
        for step in HUSK_STEPS:
            for which in (0, 1, -1):  # init, and others
                with self.case(step, which):
                    self.kill_husk(step, which)
                    self.assertEqual(self.digest(), image)
        self.assert_restarts(self.NAME, last, last)
        self.assert_nothing_left()

    def kill_husk(self, step: str, which: int) -> None:
        process = self.kill_one(f"restart.{step}:pause", ("restart", self.NAME),
                                lambda torpor: descendants(torpor.pid), HUSKS, which)
        self.failure_of(process)
        self.assert_nothing_left(step)

    def test_frozen_copy(self):
        """By the kernel that has no memory left, say. The program itself goes on, and no image is made of
        what there was."""
        steady = self.start_steady("--mib", "8")
        first = self.checkpoint_ok(steady)
        for step in FROZEN_STEPS:
            with self.case(step):
                before = self.pictures(steady)
                words = ("checkpoint", str(steady.pid), "--name", self.NAME, "--keep", "9")
                process = self.kill_one(f"checkpoint.{step}:pause", words, frozen_copies, 2, 0)
                known = self.generations()
                self.assertEqual(self.failure_of(process, r"the copy of process \d+ was killed"), IO)
                self.assert_unharmed(steady, before, step)
                self.assertEqual(self.generations(), known)
        steady.end()
        self.assert_images_sound(1)
        self.assert_nothing_left()
        self.assert_restarts(f"{self.NAME}@1", *first)

    def test_process_with_the_agent(self):
        for step in LIVING_STEPS:
            with self.case(step):
                self.kill_program(step)
        self.assertEqual(self.generations(), [])

    def kill_program(self, step: str) -> None:
        steady = self.start_steady()
        process = self.start_torpor("checkpoint", str(steady.pid), "--name", self.NAME,
                                    env=self.with_fault(f"checkpoint.{step}:pause"))
        time.sleep(PAUSE / 2)
        os.kill(steady.pid, signal.SIGKILL)
        self.assertIn(self.failure_of(process), (NOT_FOUND, PROGRAM_GONE), step)
        self.assertEqual(self.wait(steady.process), -signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, steady.output.ready)), "its child ends")
        self.assert_nothing_left(step)


torpor_testing.for_each_user(KilledHelpers)
del KilledHelpers

if __name__ == "__main__":
    torpor_testing.main()
