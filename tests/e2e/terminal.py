#!/usr/bin/python3
"""`torpor launch` at a terminal: the program has one of its own that behaves as the user's would."""

import hashlib
import os
import resource
import signal
import subprocess
import time

import torpor_testing
from torpor_testing import TorporTest, is_alive, process_state, wait_until

# Tells of its terminal when asked to by a line of input.
TELLER = """
import os, signal, sys, termios
def winch(number, frame):
    # Not print: the signal may come while a line is being printed.
    os.write(1, b"size %d %d\\n" % tuple(os.get_terminal_size(0)))
signal.signal(signal.SIGWINCH, winch)
print("tty", [os.isatty(fd) for fd in range(3)], flush=True)
print("size", *os.get_terminal_size(0), flush=True)
print("foreground", os.tcgetpgrp(0) == os.getpgrp(), flush=True)
print("same", os.path.samefile("/proc/self/fd/0", "/proc/self/fd/1"), flush=True)
for line in sys.stdin:
    print("got", line.strip(), flush=True)
print("end", flush=True)
"""


class AtTerminal(TorporTest):
    def setUp(self):
        super().setUp()
        self.screen = self.terminal(rows=33, columns=99)

    def launch(self, *words, **options) -> subprocess.Popen:
        return self.start_at(self.screen, self.torpor_command("launch", "--", *words), **options)

    def teller(self) -> subprocess.Popen:
        process = self.launch("python3", "-c", TELLER)
        self.screen.expect("same True\r\n")
        return process

    def finish(self, process: subprocess.Popen) -> int:
        """The exit status; the terminal must be as it was before."""
        status = self.wait(process, self.screen)
        self.assertEqual(self.screen.modes(), self.modes_before)
        return status

    @property
    def modes_before(self):
        fresh = self.terminal()
        return fresh.modes()

    # --- what the program sees

    def test_streams_are_terminals_of_the_same_size(self):
        process = self.launch("python3", "-c", TELLER)
        shown = self.screen.expect("same True")
        self.assertIn(b"tty [True, True, True]", shown)
        self.assertIn(b"size 99 33", shown)
        self.assertIn(b"foreground True", shown)
        self.screen.type("\x04")
        self.screen.expect("end")
        self.assertEqual(self.finish(process), 0)

    def test_new_size_is_passed_on(self):
        process = self.teller()
        self.screen.resize(11, 44)
        self.screen.expect("size 44 11")
        self.screen.type("\x04")
        self.assertEqual(self.finish(process), 0)

    def test_only_streams_that_are_terminals_are_replaced(self):
        report = self.directory / "tmp" / "report"
        with open(report, "wb") as out:
            process = self.launch("sh", "-c", "for i in 0 1 2; do test -t $i && echo $i; done",
                                  stdout=out)
            self.assertEqual(self.finish(process), 0)
        self.assertEqual(report.read_text().split(), ["0", "2"])

    def test_input_pipe_with_output_at_the_terminal(self):
        process = self.launch("sh", "-c", "wc -c; read answer </dev/tty; echo answer $answer",
                              stdin=subprocess.PIPE)
        process.stdin.write(b"x" * 100_000)
        process.stdin.close()
        self.screen.expect("100000")
        self.screen.type("yes\r")
        self.screen.expect("answer yes")
        self.assertEqual(self.finish(process), 0)

    def test_pipeline_leaves_the_keys_to_its_end(self):
        process = self.launch("sh", "-c", "test -t 0 && echo terminal; sleep 0.5", stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.read(9), b"terminal\n")
        self.assertFalse(self.screen.is_raw())
        self.assertEqual(self.finish(process), 0)

    # --- keys

    def test_lines_arrive_and_are_echoed_once(self):
        process = self.teller()
        self.assertTrue(self.screen.is_raw())
        self.screen.type("hello\r")
        self.assertEqual(self.screen.expect("got hello\r\n"), b"hello\r\ngot hello\r\n")
        self.screen.type("\x04")
        self.screen.expect("end")
        self.assertEqual(self.finish(process), 0)

    def test_every_byte_passes(self):
        process = self.launch("sh", "-c", "stty raw -echo; echo go; head -c 256 | od -An -v -tu1")
        self.screen.expect("go")
        self.screen.type(bytes(range(256)))
        self.assertEqual(self.wait(process, self.screen), 0)
        numbers = [int(word) for word in self.screen.drain().split()]
        self.assertEqual(numbers, list(range(256)))

    def test_interrupt_key(self):
        process = self.launch("sh", "-c", "echo go; exec sleep 100")
        self.screen.expect("go")
        self.screen.type("\x03")
        self.assertEqual(self.finish(process), 128 + signal.SIGINT)

    def test_quit_key(self):
        process = self.launch("sh", "-c", "ulimit -c 0; echo go; exec sleep 100")
        self.screen.expect("go")
        self.screen.type("\x1c")
        self.assertEqual(self.finish(process), 128 + signal.SIGQUIT)

    def test_interrupt_key_reaches_the_whole_group(self):
        # The inner one ends of the signal, or the outer would wait for it.
        inner = "sh -c 'echo go; exec sleep 100'"
        process = self.launch("sh", "-c", f"trap 'echo shell; exit 5' INT; {inner}; echo no")
        self.screen.expect("go")
        self.screen.type("\x03")
        self.screen.expect("shell")
        self.assertEqual(self.finish(process), 5)
        self.assertNotIn(b"no", self.screen.drain())

    # --- output

    def test_no_output_is_lost_at_the_end(self):
        # Not a multiple of anything, and ended at once.
        script = "import sys; sys.stdout.write(''.join(f'{i}\\n' for i in range(200000)))"
        process = self.launch("python3", "-c", script)
        self.assertEqual(self.finish(process), 0)
        wanted = "".join(f"{i}\r\n" for i in range(200000)).encode()
        shown = self.screen.drain()
        self.assertEqual(len(shown), len(wanted))
        self.assertEqual(hashlib.sha256(shown).digest(), hashlib.sha256(wanted).digest())

    def test_slow_reader_gets_everything(self):
        process = self.launch("sh", "-c", "seq 100000; echo last")
        time.sleep(0.5)  # the terminal is full by now
        self.assertIsNone(process.poll())
        shown = self.screen.expect("last\r\n")
        self.assertEqual(shown, "".join(f"{i}\r\n" for i in range(1, 100001)).encode() + b"last\r\n")
        self.assertEqual(self.finish(process), 0)

    def test_descendant_that_keeps_the_terminal_open_does_not_hold_us(self):
        process = self.launch("sh", "-c", "trap '' HUP; sleep 100 & echo child $!")
        self.screen.expect("child ")
        self.assertEqual(self.finish(process), 0)
        child = int(self.screen.output.split()[0])
        self.assertTrue(is_alive(child))
        os.kill(child, signal.SIGKILL)

    # --- the end

    def test_terminal_is_restored_however_it_ends(self):
        for script, status in (("exit 0", 0), ("exit 9", 9), ("kill -9 $$", 137)):
            with self.subTest(script=script):
                process = self.launch("sh", "-c", f"stty raw -echo; {script}")
                self.assertEqual(self.finish(process), status)

    def test_terminal_is_restored_when_launch_is_terminated(self):
        process = self.launch("sh", "-c", "echo go; exec sleep 100")
        self.screen.expect("go")
        wait_until(self.screen.is_raw, "raw")
        process.terminate()
        self.assertEqual(self.finish(process), 128 + signal.SIGTERM)

    def test_terminal_is_restored_when_launch_crashes(self):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        process = self.launch("sh", "-c", "echo go; exec sleep 100")
        self.screen.expect("go")
        wait_until(self.screen.is_raw, "raw")
        process.send_signal(signal.SIGSEGV)
        self.assertEqual(self.finish(process), -signal.SIGSEGV)

    def test_hang_up_reaches_the_program(self):
        note = self.directory / "tmp" / "note"
        process = self.launch("sh", "-c", f"trap 'echo hup > {note}; exit 3' HUP; echo go;"
                                          " while :; do sleep 0.05; done")
        self.screen.expect("go")
        self.screen.hang_up()
        self.assertEqual(self.wait(process), 3)
        self.assertEqual(note.read_text(), "hup\n")

    def test_failure_to_start_leaves_the_terminal_alone(self):
        process = self.launch("no-such-program")
        self.assertEqual(self.finish(process), 127)
        self.assertIn(b"torpor: cannot run 'no-such-program'", self.screen.drain())


class JobControl(TorporTest):
    """With a shell that has job control between the user and torpor."""

    def setUp(self):
        super().setUp()
        self.screen = self.terminal()
        shell = self.user_command("bash", "--norc", "--noprofile", "-i")
        environment = dict(self.environment, PS1="READY> ", PS2="", INPUTRC="/dev/null")
        self.shell = self.start_at(self.screen, shell, env=environment)
        self.screen.expect("READY> ")
        self.command("bind 'set enable-bracketed-paste off'; set +m; set -m; stty -echo")

    def command(self, text: str, wait_for: str = "READY> ") -> str:
        self.screen.type(text + "\r")
        return self.screen.expect(wait_for).decode()

    def launch(self, *words) -> int:
        """Starts a program in the foreground that says `go`; the PID of its root."""
        words = " ".join(words)
        self.screen.type(f"{self.torpor_path} launch --name job -- {words}\r")
        self.screen.expect("go\r\n")
        return self.computation("job")["pid"]

    def leave(self):
        self.command("kill %% 2>/dev/null; wait")
        self.screen.type("exit\r")
        self.assertIn(self.wait(self.shell, self.screen), (0, 1))

    def suspend(self, root: int):
        wait_until(self.screen.is_raw, "raw")
        self.screen.type("\x1a")
        shown = self.screen.expect("READY> ").decode()
        self.assertIn("Stopped", shown)
        wait_until(lambda: process_state(root) == "T", "the program is stopped")
        self.assertFalse(self.screen.is_raw())

    def test_suspend_and_foreground(self):
        root = self.launch("sh", "-c", "'echo go; while read x; do echo got $x; done'")
        self.suspend(root)
        self.assertIn("42", self.command("echo $((6 * 7))"))
        self.screen.type("fg\r")
        wait_until(self.screen.is_raw, "raw again")
        wait_until(lambda: process_state(root) != "T", "the program goes on")
        self.screen.type("after\r")
        self.screen.expect("got after")
        self.screen.type("\x04")
        self.screen.expect("READY> ")
        self.leave()

    def test_suspend_and_background(self):
        note = self.directory / "tmp" / "note"
        note.write_text("")
        if self.uid is not None:
            os.chown(note, self.uid, self.uid)
        root = self.launch("sh", "-c", f"'echo go; while :; do sleep 0.05; echo x >> {note}; done'")
        self.suspend(root)
        self.command("bg")
        wait_until(lambda: process_state(root) != "T", "the program goes on")
        size = note.stat().st_size
        wait_until(lambda: note.stat().st_size > size, "the program works")
        self.assertFalse(self.screen.is_raw())
        # A job that runs already is brought to the front without any signal.
        self.screen.type("fg\r")
        wait_until(self.screen.is_raw, "raw again")
        self.screen.type("\x03")
        self.screen.expect("READY> ")
        self.assertIn("130", self.command("echo status $?"))
        self.leave()

    def test_whole_group_is_stopped(self):
        root = self.launch("sh", "-c", "'echo go; sleep 100 | sleep 100'")
        children = wait_until(lambda: torpor_testing.descendants(root)[1:] and
                              torpor_testing.descendants(root), "children")
        self.suspend(root)
        wait_until(lambda: {process_state(child) for child in children} == {"T"}, "all are stopped")
        self.screen.type("fg\r")
        wait_until(lambda: {process_state(child) for child in children} == {"S"}, "all go on")
        self.screen.type("\x03")
        self.screen.expect("READY> ")
        self.leave()

    def test_shell_inside_has_its_own_job_control(self):
        environment = "PS1='INNER> ' "
        self.screen.type(f"{environment}{self.torpor_path} launch --name job -- "
                         "bash --norc --noprofile -i\r")
        self.screen.expect("INNER> ")
        self.screen.type("sh -c 'echo go; exec sleep 100'\r")
        self.screen.expect("go\r\n")
        self.screen.type("\x1a")
        self.screen.expect("INNER> ")  # stopped the sleep, not the shell
        self.screen.type("jobs\r")
        self.screen.expect("Stopped")
        self.screen.type("fg\r")
        time.sleep(0.2)
        self.screen.type("\x03")
        self.screen.expect("INNER> ")
        self.screen.type("exit\r")
        self.screen.expect("READY> ")
        self.leave()

    def test_program_that_ignores_the_key_goes_on(self):
        root = self.launch("sh", "-c", "'trap \"\" TSTP; echo go; while read x; do echo got $x; done'")
        wait_until(self.screen.is_raw, "raw")
        self.screen.type("\x1a")
        self.screen.type("on\r")
        self.screen.expect("got on")
        self.assertNotEqual(process_state(root), "T")
        self.screen.type("\x04")
        self.screen.expect("READY> ")
        self.leave()

    def test_stop_signal_to_launch_itself(self):
        root = self.launch("sh", "-c",
                           "'trap \"\" TSTP; echo go; while read x; do echo got $x; done'")
        supervisor = self.computation("job")["supervisor_pid"]
        os.kill(supervisor, signal.SIGTSTP)
        self.screen.expect("Stopped")
        wait_until(lambda: process_state(root) == "T", "the program is stopped")
        self.screen.expect("READY> ")
        self.screen.type("fg\r")
        wait_until(self.screen.is_raw, "raw again")
        self.screen.type("x\r")
        self.screen.expect("got x")
        self.screen.type("\x04")
        self.screen.expect("READY> ")
        self.leave()

    def test_background_from_the_start_leaves_the_terminal_alone(self):
        self.command(f"{self.torpor_path} launch --name job -- sleep 100 &")
        self.computation("job")
        self.assertIn("42", self.command("echo $((6 * 7))"))
        self.assertFalse(self.screen.is_raw())
        self.leave()


class NoJobControl(TorporTest):
    def test_suspend_key_without_a_shell_to_resume_us(self):
        screen = self.terminal()
        command = self.torpor_command("launch", "sh", "-c", "echo go; while read x; do echo got $x; done")
        process = self.start_at(screen, command)
        screen.expect("go")
        wait_until(screen.is_raw, "raw")
        screen.type("\x1a")
        screen.type("on\r")
        screen.expect("got on")  # nobody could have said `fg`
        screen.type("\x04")
        self.assertEqual(self.wait(process, screen), 0)


for case in (AtTerminal, JobControl, NoJobControl):
    torpor_testing.for_each_user(case)
del case, AtTerminal, JobControl, NoJobControl

if __name__ == "__main__":
    torpor_testing.main()
