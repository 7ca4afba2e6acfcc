#!/usr/bin/python3
"""What cannot be saved or brought back is said by name before anything is touched, and the program
goes on."""

import signal
import subprocess

import torpor_testing
from manifest_editor import COMPUTATION, edit_manifest
from torpor_testing import TorporTest, wait_until

REFUSED = 101
PROCESSES, LAYOUT, VDSO_CONTENT = 3, 16, 15  # of Computation, Process, MemoryLayout

# Each does something that cannot be saved, says so, and ends with 7 at SIGUSR2.
HEAD = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def end(*_):
    {end}
    os._exit(7)
signal.signal(signal.SIGUSR2, end)
{begin}
print("ready", flush=True)
while True:
    signal.pause()
"""
ASYNCHRONOUS_IO = HEAD.format(end="pass", begin="""
context = ctypes.c_ulong(0)
assert libc.syscall(206, 8, ctypes.byref(context)) == 0  # io_setup
""")
SEMAPHORE = HEAD.format(end="libc.semctl(semaphores, 0, 0)  # IPC_RMID", begin="""
semaphores = libc.semget(0, 2, 0o600)
assert semaphores >= 0
assert libc.semop(semaphores, (ctypes.c_short * 3)(1, 1, 0), 1) == 0
""")
MESSAGE_QUEUE = HEAD.format(end="libc.msgctl(queue, 0, None)  # IPC_RMID", begin="""
queue = libc.msgget(0, 0o600)
assert queue >= 0
assert libc.msgsnd(queue, (ctypes.c_long * 2)(1, 0), 8, 0) == 0
""")


class Refusals(TorporTest):
    def launch(self, *program: str) -> subprocess.Popen:
        process = self.start_torpor("launch", "--name", "it", "--", *program)
        self.addCleanup(process.stdout.close)
        return process

    def assert_checkpoint_refused(self, program: str, words: str) -> None:
        process = self.launch("/usr/bin/python3", "-c", program)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        for command in (("check", "it"), ("checkpoint", "it"), ("checkpoint", "--kill", "it")):
            done = self.torpor(*command)
            self.assertEqual(done.returncode, REFUSED, done.stdout + done.stderr)
            self.assertIn(words, done.stdout + done.stderr)
        process.send_signal(signal.SIGUSR2)
        self.assertEqual(self.wait(process), 7)

    def test_asynchronous_io(self):
        self.assert_checkpoint_refused(ASYNCHRONOUS_IO, "asynchronous I/O")

    def test_system_v_semaphore(self):
        self.assert_checkpoint_refused(SEMAPHORE, "System V semaphore set")

    def test_system_v_message_queue(self):
        self.assert_checkpoint_refused(MESSAGE_QUEUE, "System V message queue")

    def test_vdso_of_another_kernel(self):
        process = self.launch("sleep", "1000")
        self.computation("it")
        self.torpor_ok("checkpoint", "--kill", "it")
        self.wait(process)
        manifest = wait_until(lambda: list(self.directory.rglob("manifest.torpor")), "the image")[0]
        before = manifest.read_bytes()

        def change(layout) -> None:
            vdso = bytearray(layout.get(VDSO_CONTENT))
            vdso[len(vdso) // 2] ^= 1
            layout.set(VDSO_CONTENT, bytes(vdso))

        edit_manifest(manifest, lambda m: m.edit(COMPUTATION, lambda c: c.edit(
            PROCESSES, lambda p: p.edit(LAYOUT, change))))
        self.assertNotEqual(before, manifest.read_bytes())
        self.assert_fails(self.torpor("restart", "it"), REFUSED, "vdso")


torpor_testing.for_each_user(Refusals)
del Refusals

if __name__ == "__main__":
    torpor_testing.main()
