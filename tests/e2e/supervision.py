#!/usr/bin/python3
"""A computation in the hands of its supervisor: checkpoints by name, PID and interval, restarts in
the foreground, at a terminal and in the background, and what the other commands say of the images."""

# ctest: TIMEOUT 600

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

import torpor_testing
from torpor_testing import TorporTest, is_alive, process_state, wait_until

# Counts on standard output until it is told to end; the status says which signal it was.
COUNTER = """
import os, signal, sys, time
def end(number, frame):  # not print: the signal may come while a line is being printed
    os.write(1, b"ended by %s\\n" % signal.Signals(number).name.encode())
    os._exit(40 + number)
signal.signal(signal.SIGUSR1, end)
signal.signal(signal.SIGINT, end)
count = 0
while True:
    print(count, flush=True)
    count += 1
    time.sleep(0.01)
"""

# Answers each line of input with a number, and tells when its terminal changes its size.
ASKER = """
import os, signal, sys
def winch(number, frame):
    os.write(1, b"size %d %d\\n" % tuple(os.get_terminal_size(0)))
signal.signal(signal.SIGWINCH, winch)
print("tty", os.isatty(0), *os.get_terminal_size(0), flush=True)
for number, line in enumerate(sys.stdin):
    print(number, line.strip(), flush=True)
sys.exit(6)
"""


class Supervision(TorporTest):
    def setUp(self):
        super().setUp()
        self.output = self.directory / "tmp" / "output"

    def open_output(self):
        out = open(self.output, "ab")  # pylint: disable=consider-using-with
        if self.uid is not None:
            os.fchown(out.fileno(), self.uid, self.uid)
        return out

    def launch_counter(self, *options) -> subprocess.Popen:
        """A counter whose output goes into a file; returns when it counts."""
        with self.open_output() as out:
            process = self.start_torpor("launch", "--name", "c", *options, "--", "python3", "-c", COUNTER,
                                        stdout=out)
        self.wait_for_count(5)
        return process

    def counts(self) -> list[int]:
        return [int(line) for line in self.output.read_text().split("\n")[:-1] if line.isdigit()]

    def wait_for_count(self, least: int) -> None:
        wait_until(lambda: self.output.exists() and len(self.counts()) >= least, f"{least} numbers")

    def wait_for_more(self, process: subprocess.Popen | None = None) -> None:
        """Until it counts on; an early end of the process is shown."""
        seen = len(self.counts())

        def look():
            if process is not None and process.poll() is not None:
                raise AssertionError(f"ended with {process.returncode}: {process.stderr.read()}")
            return len(self.counts()) >= seen + 5
        wait_until(look, "it counts on")

    def assert_counted_on(self) -> None:
        """Nothing is missing, nothing came twice."""
        self.assertEqual(self.counts(), list(range(len(self.counts()))))

    def end_counter(self, process: subprocess.Popen) -> None:
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(self.wait(process), 40 + signal.SIGUSR1, process.stderr.read())
        self.assertTrue(self.output.read_text().endswith("ended by SIGUSR1\n"))
        self.assert_counted_on()

    def checkpoint(self, *words) -> dict:
        return self.torpor_json("checkpoint", *words)

    def save_and_kill(self, process: subprocess.Popen, *words) -> dict:
        outcome = self.checkpoint(*words, "--kill")
        self.assertEqual(self.wait(process), 128 + signal.SIGKILL)
        return outcome

    def start_restart(self, *words, **options) -> subprocess.Popen:
        with self.open_output() as out:
            settings = {"stdout": out}
            settings.update(options)
            return self.start_torpor("restart", *words, **settings)

    # --- checkpoint

    def test_children_that_launch_had_before_are_not_the_programs(self):
        """A shell that becomes torpor by exec leaves it its jobs."""
        script = 'sleep 300 & exec "$@"'
        launch = self.torpor_command("launch", "--name", "c", "--", "python3", "-c", COUNTER)
        with self.open_output() as out:
            process = self.start(["bash", "-c", script, "bash", *launch], stdout=out)
        self.wait_for_count(5)
        children = [pid for pid in torpor_testing.descendants(process.pid)
                    if torpor_testing.describe_process(pid).rstrip().endswith(" sleep 300")]
        self.assertEqual(len(children), 1, "the shell's job is there")
        outcome = self.save_and_kill(process, "c")
        self.assertEqual(outcome["processes"], 1)
        os.kill(children[0], signal.SIGKILL)
        process = self.start_restart("c")
        self.wait_for_more(process)
        self.end_counter(process)

    def test_program_goes_on_after_a_checkpoint(self):
        process = self.launch_counter()
        outcome = self.checkpoint("c")
        self.assertEqual((outcome["name"], outcome["generation"], outcome["killed"]), ("c", 1, False))
        self.assertEqual((outcome["processes"], outcome["threads"]), (1, 1))
        self.assertGreater(outcome["bytes"], 100_000)
        self.assertTrue(0 < outcome["pause_ns"] <= outcome["total_ns"])
        self.assertTrue(pathlib.Path(outcome["image"]).is_dir())
        self.wait_for_more()
        entry = self.computation("c")
        self.assertEqual((entry["generation"], entry["image"]), (1, outcome["image"]))
        self.assertEqual(self.checkpoint()["generation"], 2)  # the only one that runs
        self.end_counter(process)

    def test_by_pid_of_any_of_its_processes(self):
        process = self.start_torpor("launch", "--name", "c", "sh", "-c", "sleep 100; :")
        root = self.computation("c")["pid"]
        child = wait_until(lambda: torpor_testing.descendants(root), "the child")[0]
        for generation, pid in enumerate((root, child), 1):
            outcome = self.checkpoint(str(pid))
            self.assertEqual((outcome["name"], outcome["generation"]), ("c", generation))
            self.assertEqual(outcome["processes"], 2)
        os.killpg(root, signal.SIGKILL)
        self.wait(process)

    def test_process_without_a_supervisor(self):
        process = self.start(self.user_command("sleep", "100"))
        name = pathlib.Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: name.read_text() == "sleep\n", "it has become what it is to be")
        outcome = self.checkpoint(str(process.pid))
        self.assertEqual(outcome["name"], f"sleep-{process.pid}")
        self.assertEqual(self.checkpoint(str(process.pid), "--name", "s")["name"], "s")
        self.assertTrue(is_alive(process.pid))
        process.kill()

    def test_attached_process(self):
        with self.open_output() as out:
            program = self.start(self.user_command("python3", "-c", COUNTER), stdout=out)
        process = self.start_torpor("attach", str(program.pid), "--name", "c")
        self.wait_for_count(5)
        self.computation("c")
        self.assertEqual(self.checkpoint("c")["name"], "c")
        self.wait_for_more()
        program.send_signal(signal.SIGUSR1)
        self.assertEqual(self.wait(program), 40 + signal.SIGUSR1)
        self.assertEqual(self.wait(process), 0)

    def test_two_at_once_are_one_and_an_error(self):
        process = self.launch_counter()
        runs = [self.start_torpor("checkpoint", "c", "--json") for _ in range(6)]
        statuses = [self.wait(run) for run in runs]
        self.assertIn(0, statuses)
        self.assertLessEqual(set(statuses), {0, 108})
        for run in runs:
            if run.returncode == 108:
                self.assertEqual(json.loads(run.stdout.read())["error"]["name"], "conflict")
        self.wait_for_more()
        self.end_counter(process)

    def test_client_that_is_killed_does_no_harm(self):
        process = self.launch_counter()
        for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.05):
            client = self.start_torpor("checkpoint", "c")
            time.sleep(delay)
            client.kill()
            self.wait(client)
        wait_until(lambda: not self.computation("c")["checkpoint_running"], "it is given up")
        self.wait_for_more()
        self.checkpoint("c")
        self.end_counter(process)

    def test_directory_of_one_checkpoint(self):
        process = self.launch_counter()
        other = self.directory / "tmp" / "other"
        outcome = self.checkpoint("c", "--dir", other)
        self.assertTrue(outcome["image"].startswith(str(other)))
        self.end_counter(process)

    def test_failure_leaves_program_and_images_alone(self):
        process = self.launch_counter()
        first = self.checkpoint("c")
        done = self.torpor("checkpoint", "c", "--dir", "/proc/nowhere")
        self.assertIn(done.returncode, (102, 103, 105))
        self.wait_for_more()
        self.torpor_ok("verify", first["image"])
        self.end_counter(process)

    # --- periodic checkpoints

    def test_interval_takes_checkpoints_and_keeps_the_latest(self):
        process = self.launch_counter("--interval", "200ms", "--keep", "2")
        wait_until(lambda: self.computation("c")["generation"] >= 4, "four checkpoints")
        self.assertLessEqual(len(list((self.directory / "store" / "c").glob("[0-9]*"))), 3)
        self.end_counter(process)
        self.assertEqual(process.stderr.read(), b"")

    def test_interval_reports_failures_and_goes_on(self):
        # Nobody, root included, can make a directory there.
        process = self.launch_counter("--interval", "200ms", "--dir", "/proc/nowhere")
        line = process.stderr.readline().decode()
        self.assertIn("torpor: a periodic checkpoint of 'c' failed: ", line)
        self.wait_for_more()
        self.end_counter(process)

    # --- restart

    def test_restart_in_the_foreground(self):
        process = self.launch_counter()
        self.save_and_kill(process)
        before = len(self.counts())
        process = self.start_restart("c")
        self.wait_for_count(before + 5)
        entry = self.computation("c")
        self.assertEqual((entry["origin"], entry["generation"]), ("restarted", 1))
        self.end_counter(process)

    def test_again_and_again(self):
        process = self.launch_counter()
        for generation in range(1, 6):
            self.assertEqual(self.save_and_kill(process, "c")["generation"], generation)
            process = self.start_restart("c")
            self.wait_for_more(process)
        self.end_counter(process)

    def test_other_signals_reach_the_restored_program(self):
        process = self.launch_counter()
        self.save_and_kill(process)
        process = self.start_restart("c")
        self.wait_for_more(process)
        process.send_signal(signal.SIGINT)
        self.assertEqual(self.wait(process), 40 + signal.SIGINT)
        process = self.start_restart("c")
        self.wait_for_more(process)
        process.terminate()
        self.assertEqual(self.wait(process), 128 + signal.SIGTERM)

    def test_older_generation(self):
        process = self.launch_counter()
        self.checkpoint()
        size = self.output.stat().st_size
        self.wait_for_more()
        self.save_and_kill(process)
        os.truncate(self.output, size)
        process = self.start_restart("c@1")
        self.wait_for_more(process)
        self.assertEqual(self.computation("c")["generation"], 1)
        process.terminate()
        self.wait(process)

    def test_in_the_background(self):
        # Its output leads outside: a file of its own it would go on to write.
        process = self.start_torpor("launch", "--name", "c", "python3", "-c", COUNTER)
        self.assertEqual([process.stdout.readline() for _ in range(3)], [b"0\n", b"1\n", b"2\n"])
        self.save_and_kill(process)
        log = self.directory / "tmp" / "log"
        name, pid = self.torpor_ok("restart", "c", "--detach", "--output", log).split()
        self.assertEqual(name, "c")
        self.assertTrue(is_alive(int(pid)))
        entry = self.computation("c")
        self.assertEqual(entry["pid"], int(pid))
        self.assertNotEqual(os.getsid(entry["supervisor_pid"]), os.getsid(0))
        for fd, target in ((0, "/dev/null"), (1, str(log)), (2, str(log))):
            self.assertEqual(os.readlink(f"/proc/{entry['supervisor_pid']}/fd/{fd}"), target)
        wait_until(lambda: log.stat().st_size > 20, "it writes into the log")
        self.checkpoint("c", "--kill")
        wait_until(lambda: self.torpor_json("ps") == [], "all is over")

    def test_failure_in_the_background_is_told(self):
        self.save_and_kill(self.launch_counter())
        done = self.torpor("restart", "c", "--detach", "--output", "/nowhere/log")
        self.assert_fails(done, 102, "/nowhere/log")
        os.truncate(self.directory / "store" / "c" / "1" / "manifest.torpor", 50)
        self.assert_fails(self.torpor("restart", "c@1", "--detach"), 104, "manifest.torpor")
        self.assertEqual(self.torpor_json("ps"), [])

    def test_program_goes_on_when_its_supervisor_is_killed(self):
        self.save_and_kill(self.launch_counter())
        process = self.start_restart("c")
        self.wait_for_more(process)
        root = self.computation("c")["pid"]
        process.kill()
        self.wait(process)
        self.wait_for_more()
        os.kill(root, signal.SIGUSR1)
        wait_until(lambda: not is_alive(root), "it ends")
        self.assertTrue(self.output.read_text().endswith("ended by SIGUSR1\n"))

    def test_second_restart_needs_another_name(self):
        self.save_and_kill(self.launch_counter())
        self.torpor_ok("restart", "c", "--detach")
        self.assert_fails(self.torpor("restart", "c"), 108, "'c'")
        if self.torpor("restart", "c", "--name", "d", "--detach").returncode == 0:
            self.assertEqual(sorted(entry["name"] for entry in self.torpor_json("ps")), ["c", "d"])
            self.assertEqual(self.checkpoint("d")["name"], "d")
        for entry in self.torpor_json("ps"):
            os.kill(entry["pid"], signal.SIGKILL)
        wait_until(lambda: self.torpor_json("ps") == [], "all is over")

    def test_reading_from_a_new_input(self):
        process = self.start_torpor("launch", "--name", "c", "python3", "-c", COUNTER.replace(
            "time.sleep(0.01)", "sys.stdin.readline()"), stdin=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"0\n")
        self.save_and_kill(process)
        process = self.start_torpor("restart", "c", stdin=subprocess.PIPE)
        process.stdin.write(b"\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b"1\n")
        process.send_signal(signal.SIGUSR1)
        # Python may have noted it just before it began to read, and then waits for more.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"\n")
            process.stdin.flush()
        self.assertEqual(self.wait(process), 40 + signal.SIGUSR1)

    # --- at a terminal

    def test_restart_at_another_terminal(self):
        first = self.terminal(rows=20, columns=60)
        process = self.start_at(first, self.torpor_command("launch", "--name", "c", "--", "python3",
                                                           "-c", ASKER))
        first.expect("tty True 60 20")
        first.type("one\r")
        first.expect("0 one")
        self.save_and_kill(process)
        second = self.terminal(rows=30, columns=70)
        process = self.start_at(second, self.torpor_command("restart", "c"))
        second.expect("size 70 30\r\n")  # all of it, or the echo could come between
        wait_until(second.is_raw, "raw")
        second.type("two\r")
        self.assertEqual(second.expect("1 two\r\n"), b"two\r\n1 two\r\n")
        second.type("\x04")
        self.assertEqual(self.wait(process, second), 6)
        self.assertFalse(second.is_raw())

    def test_keys_make_signals_after_a_restart(self):
        first = self.terminal()
        process = self.start_at(first, self.torpor_command("launch", "--name", "c", "--", "sh", "-c",
                                                           "echo go; sleep 100; echo no"))
        first.expect("go")
        self.computation("c")
        wait_until(lambda: torpor_testing.descendants(self.computation("c")["pid"]), "the child")
        self.save_and_kill(process)
        second = self.terminal()
        process = self.start_at(second, self.torpor_command("restart", "c"))
        wait_until(second.is_raw, "raw")
        second.type("\x03")
        self.assertEqual(self.wait(process, second), 128 + signal.SIGINT)

    def test_suspend_key_after_a_restart(self):
        first = self.terminal()
        process = self.start_at(first, self.torpor_command("launch", "--name", "c", "--", "python3",
                                                           "-c", ASKER))
        first.expect("tty True")
        self.save_and_kill(process)
        second = self.terminal()
        environment = dict(self.environment, PS1="READY> ")
        shell = self.start_at(second, self.user_command("bash", "--norc", "--noprofile", "-i"),
                              env=environment)
        second.expect("READY> ")
        second.type(f"{self.torpor_path} restart c\r")
        root = self.computation("c")["pid"]
        wait_until(second.is_raw, "raw")
        second.type("\x1a")
        second.expect("Stopped")
        wait_until(lambda: process_state(root) == "T", "the program is stopped")
        second.expect("READY> ")
        second.type("fg\r")
        wait_until(second.is_raw, "raw again")
        second.type("back\r")
        second.expect("0 back")
        second.type("\x04")
        second.expect("READY> ")
        second.type("exit\r")
        self.wait(shell, second)

    def save_asker(self) -> None:
        """A program that waits for a line at its terminal."""
        screen = self.terminal(rows=20, columns=60)
        process = self.start_at(screen, self.torpor_command("launch", "--name", "c", "--", "python3",
                                                            "-c", ASKER))
        screen.expect("tty True 60 20")
        self.save_and_kill(process)

    def test_terminal_without_a_user(self):
        self.save_asker()
        process = self.start_torpor("restart", "c", stdin=subprocess.PIPE)
        process.stdin.write(b"x\n")
        process.stdin.close()  # is the end-of-file key
        self.assertEqual(self.wait(process), 6, process.stderr.read())
        self.assertEqual(process.stdout.read(), b"x\r\n0 x\r\n")

    def test_terminal_without_a_user_in_the_background(self):
        self.save_asker()
        log = self.directory / "tmp" / "log"
        pid = int(self.torpor_ok("restart", "c", "--detach", "--output", log).split()[1])
        time.sleep(0.3)
        self.assertTrue(is_alive(pid))  # nobody has typed an end of file
        with open(f"/proc/{pid}/fd/0", "wb", buffering=0) as terminal:
            self.assertTrue(os.isatty(terminal.fileno()))
            terminal.write(b"shown\n")
        wait_until(lambda: b"shown\r\n" in log.read_bytes(), "the log has what it shows")
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: self.torpor_json("ps") == [], "all is over")

    # --- images

    def test_what_is_said_of_an_image(self):
        process = self.launch_counter()
        root = self.computation("c")["pid"]
        image = self.checkpoint("c")["image"]
        summary = self.torpor_json("inspect", "c")
        self.assertEqual((summary["name"], summary["generation"], summary["path"]), ("c", 1, image))
        self.assertEqual((summary["processes"], summary["threads"]), (1, 1))
        tree = self.torpor_json("inspect", "c@1", "tree")
        self.assertEqual([(entry["pid"], entry["state"]) for entry in tree], [(root, "running")])
        files = {entry["fd"]: entry for entry in self.torpor_json("inspect", image, "files")}
        self.assertEqual(set(files), {0, 1, 2})
        memory = self.torpor_json("inspect", "c", "memory", "--pid", str(root))
        self.assertIn("[stack]", {entry["path"] for entry in memory} | {"[stack]"})
        self.assertGreater(sum(entry["stored"] for entry in memory), 100_000)
        threads = self.torpor_json("inspect", "c", "threads")
        self.assertEqual([entry["tid"] for entry in threads], [root])
        for section in ((), ("tree",), ("files",), ("memory",), ("threads",)):
            self.assertIn(str(root), self.torpor_ok("inspect", "c", *section))
        self.assert_fails(self.torpor("inspect", "c", "tree", "--pid", "1"), 102, "process 1")
        self.end_counter(process)

    def test_core_of_an_image(self):
        process = self.launch_counter()
        root = self.computation("c")["pid"]
        self.checkpoint("c")
        core = self.directory / "tmp" / "core"
        self.torpor_ok("inspect", "c", "core", "--output", core)
        self.assertEqual(core.read_bytes()[:4], b"\x7fELF")
        headers = subprocess.run(["readelf", "-n", core], capture_output=True, text=True, check=True)
        self.assertIn("NT_PRSTATUS", headers.stdout)
        again = self.torpor("inspect", "c", "core", "--pid", str(root), "--output", core)
        self.assertEqual(again.returncode, 108, again.stderr)  # it exists
        self.end_counter(process)

    def test_verify_and_prune(self):
        process = self.launch_counter("--keep", "9")
        images = [pathlib.Path(self.checkpoint("c")["image"]) for _ in range(4)]
        self.end_counter(process)
        self.assertTrue(self.torpor_json("verify", "c")["sound"])
        core = next(images[3].glob("*.core"))
        with open(core, "r+b") as file:
            file.seek(8192)
            byte = file.read(1)
            file.seek(8192)
            file.write(bytes([byte[0] ^ 1]))
        self.assert_fails(self.torpor("verify", "c"), 104, core.name)
        would = self.torpor_json("prune", "c", "--dry-run", "--keep", "2")
        self.assertEqual(would["removed"][0]["generations"], [1, 2])
        self.assertTrue(images[0].exists())
        self.assertEqual(self.torpor_json("prune", "--keep", "2")["removed"][0]["generations"], [1, 2])
        self.assertEqual([image.exists() for image in images], [False, False, True, True])

    def test_stored_computations_are_listed(self):
        self.save_and_kill(self.launch_counter())
        self.assertEqual(self.torpor_json("ps"), [])
        entry, = self.torpor_json("ps", "--all")
        self.assertEqual((entry["name"], entry["origin"], entry["generation"]), ("c", "stored", 1))

    # --- check

    def test_check_says_yes_and_no(self):
        process = self.launch_counter()
        self.assertTrue(self.torpor_json("check", "c")["possible"])
        self.checkpoint("c")
        self.end_counter(process)
        self.assertTrue(self.torpor_json("check", "c")["possible"])
        script = "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); " \
                 "print('listens', flush=True); time.sleep(100)"
        process = self.start_torpor("launch", "--name", "s", "python3", "-c", script)
        self.assertEqual(process.stdout.readline(), b"listens\n")
        root = self.computation("s")["pid"]
        done = self.torpor("check", "s", "--json")
        self.assertEqual(done.returncode, 101, done.stdout + done.stderr)
        finding = json.loads(done.stdout)["findings"][0]
        self.assertEqual((finding["fatal"], finding["pid"]), (True, root))
        self.assertTrue(finding["what"] and finding["reason"])
        self.assert_fails(self.torpor("checkpoint", "s"), 101)
        self.assertTrue(is_alive(root))
        process.terminate()
        self.wait(process)


torpor_testing.for_each_user(Supervision)
del Supervision

if __name__ == "__main__":
    torpor_testing.main()
