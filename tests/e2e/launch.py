#!/usr/bin/python3
"""`torpor launch` without a terminal: the program cannot tell it from being started by a shell."""

import os
import signal
import subprocess
import time

import torpor_testing
from torpor_testing import TorporTest, is_alive, wait_until

# Prints one line for each signal that comes in, and ends with 7 at SIGUSR2.
LISTENER = """
import os, signal, sys
def note(number, frame):
    # Not print: the signal may come while "ready" is being printed.
    os.write(1, signal.Signals(number).name.encode() + b"\\n")
    if number == signal.SIGUSR2:
        os._exit(7)
for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"):
    signal.signal(getattr(signal, "SIG" + name), note)
print("ready", flush=True)
while True:
    signal.pause()
"""


class Launch(TorporTest):
    def launch(self, *words, **options):
        return self.torpor("launch", "--", *words, **options)

    # --- exit status

    def test_exit_status_is_the_programs(self):
        for status in (0, 1, 3, 100, 255):
            with self.subTest(status=status):
                self.assertEqual(self.launch("sh", "-c", f"exit {status}").returncode, status)

    def test_signal_is_128_plus_number(self):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
            with self.subTest(signal=number):
                done = self.launch("sh", "-c", f"ulimit -c 0; kill -{int(number)} $$")
                self.assertEqual(done.returncode, 128 + number)

    def test_unknown_program_is_127(self):
        done = self.launch("no-such-program")
        self.assert_fails(done, 127, "no-such-program", "No such file", "try:")

    def test_unrunnable_program_is_126(self):
        path = self.directory / "data"
        path.write_text("not a program")
        path.chmod(0o644)
        self.assert_fails(self.launch(path), 126, "Permission denied", "chmod")

    def test_words_after_the_first_are_the_programs(self):
        done = self.torpor("launch", "--name", "n", "echo", "--name", "x", "--help", "--", "-y")
        self.assertEqual((done.returncode, done.stdout), (0, "--name x --help -- -y\n"), done.stderr)

    def test_usage_errors_are_100(self):
        for words in ((), ("launch",), ("launch", "--"), ("launch", "--nonsense", "true"),
                      ("launch", "--interval", "soon", "true"), ("launch", "--keep", "0", "true"),
                      ("launch", "--name", "../x", "true"), ("frobnicate",)):
            with self.subTest(words=words):
                self.assert_fails(self.torpor(*words), 100, "torpor: ", "try: ")

    # --- what the program inherits

    def test_environment_directory_and_umask(self):
        script = "pwd; umask; env | grep -v '^_=' | sort"
        command = ["sh", "-c", script]
        options = {"env": self.environment, "cwd": self.directory / "tmp", "stdin": subprocess.DEVNULL}
        bare = subprocess.run(self.user_command(*command), capture_output=True, text=True, check=True,
                              umask=0o027, **options).stdout
        self.assertEqual(self.launch(*command, umask=0o027, **options).stdout, bare)

    def test_signals_are_as_before(self):
        command = ["grep", "^Sig[BIC]", "/proc/self/status"]

        def with_odd_signals():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD, signal.SIGRTMIN})
            for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGTSTP):
                signal.signal(number, signal.SIG_IGN)

        for before in (None, with_odd_signals):
            with self.subTest(before=before):
                options = {"preexec_fn": before, "restore_signals": False}
                bare = subprocess.run(self.user_command(*command), capture_output=True, text=True,
                                      check=True, **options).stdout
                self.assertEqual(self.launch(*command, **options).stdout, bare)

    def test_descriptors_are_those_that_were_given(self):
        command = ["python3", "-c", "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd')"
                                    " if os.path.exists('/proc/self/fd/' + f)))"]
        with open(self.directory / "extra", "w", encoding="utf-8") as extra:
            os.set_inheritable(extra.fileno(), True)
            options = {"pass_fds": (extra.fileno(),), "env": self.environment}
            bare = subprocess.run(self.user_command(*command), stdout=subprocess.PIPE, text=True,
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True,
                                  **options).stdout
            self.assertEqual(self.launch(*command, **options).stdout, bare)

    def test_closed_streams_stay_closed(self):
        seen = self.directory / "tmp" / "seen"
        script = f"ls /proc/self/fd > {seen}"
        done = self.start_torpor("launch", "sh", "-c", script, preexec_fn=lambda: os.close(0),
                                 stdin=None)
        self.assertEqual(self.wait(done), 0, done.stderr.read())
        # ls itself opens the directory, on the first free number: 0.
        self.assertEqual(seen.read_text().split(), ["0", "1", "2"])

    def test_session_is_its_own(self):
        done = self.launch("sh", "-c", "echo $$; cut -d' ' -f5,6 /proc/$$/stat")
        pid, ids = done.stdout.splitlines()
        self.assertEqual(ids, f"{pid} {pid}")

    def test_parent_is_launch(self):
        done = self.start_torpor("launch", "sh", "-c", "echo $PPID")
        self.assertEqual(int(done.stdout.readline()), done.pid)
        self.assertEqual(self.wait(done), 0)

    # --- streams

    def test_input_and_output_pass_unchanged(self):
        data = os.urandom(3_000_000)
        done = self.launch("cat", input=data, text=False, errors=None)
        self.assertEqual(done.stdout, data)

    def test_streams_are_the_very_same_files(self):
        done = self.launch("sh", "-c", "stat -L -c %d:%i /proc/self/fd/1 /proc/self/fd/2",
                           stderr=subprocess.STDOUT)
        first, second = done.stdout.split()
        self.assertEqual(first, second)

    def test_end_of_input_is_seen(self):
        self.assertEqual(self.launch("wc", "-c", input="abc").stdout.strip(), "3")

    def test_nothing_is_printed_by_launch_itself(self):
        done = self.launch("true")
        self.assertEqual((done.stdout, done.stderr), ("", ""))

    # --- signals

    def test_signals_reach_the_program(self):
        process = self.start_torpor("launch", "python3", "-c", LISTENER)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
            process.send_signal(getattr(signal, name))
            self.assertEqual(process.stdout.readline().decode().strip(), name)
        self.assertEqual(self.wait(process), 7)

    def test_signal_that_ends_the_program_ends_launch(self):
        process = self.start_torpor("launch", "sleep", "100")
        self.computation()
        process.terminate()
        self.assertEqual(self.wait(process), 128 + signal.SIGTERM)

    # --- descendants

    def test_launch_ends_with_the_root_and_leaves_the_others(self):
        process = self.start_torpor("launch", "sh", "-c", "sleep 100 >/dev/null 2>&1 & echo $!")
        child = int(process.stdout.readline())
        self.assertEqual(self.wait(process), 0)
        self.assertTrue(is_alive(child))
        os.kill(child, signal.SIGKILL)

    def test_orphans_are_reaped(self):
        script = "for i in 1 2 3 4 5; do sh -c 'sleep 0.05 & exit 0'; done; echo done; exec sleep 100"
        process = self.start_torpor("launch", "sh", "-c", script)
        self.assertEqual(process.stdout.readline(), b"done\n")
        root = self.computation()["pid"]
        wait_until(lambda: [pid for pid in torpor_testing.descendants(process.pid)
                            if pid != root and torpor_testing.parents().get(pid) == process.pid] == [],
                   "orphans are gone, not zombies")
        process.terminate()
        self.wait(process)

    def test_program_goes_on_when_launch_is_killed(self):
        process = self.start_torpor("launch", "--name", "x", "sleep", "100")
        root = self.computation("x")["pid"]
        process.kill()
        self.wait(process)
        time.sleep(0.1)
        self.assertTrue(is_alive(root))
        # The name is free again, in spite of the socket that is still there.
        self.assertEqual(self.torpor_json("ps"), [])
        again = self.start_torpor("launch", "--name", "x", "sleep", "100")
        self.assertNotEqual(self.computation("x")["pid"], root)
        again.terminate()
        self.wait(again)
        os.kill(root, signal.SIGKILL)


torpor_testing.for_each_user(Launch)
del Launch

if __name__ == "__main__":
    torpor_testing.main()
