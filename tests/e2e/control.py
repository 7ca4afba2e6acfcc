#!/usr/bin/python3
"""Names, `ps`, the control socket, `attach`, and the errors of commands that find nothing."""

import json
import os
import pathlib
import signal
import socket
import stat
import struct
import subprocess
import time
import unittest

import torpor_testing
from torpor_testing import TorporTest, is_alive, wait_until


class Control(TorporTest):
    def launch(self, *words) -> subprocess.Popen:
        return self.start_torpor("launch", *words)

    def names(self) -> list[str]:
        return [entry["name"] for entry in self.torpor_json("ps")]

    def wait_for_names(self, *names: str) -> None:
        wait_until(lambda: self.names() == sorted(names), f"{names} are running")

    @property
    def sockets(self):
        return self.directory / "run" / "torpor"

    def end(self, *processes: subprocess.Popen) -> None:
        for process in processes:
            process.terminate()
        for process in processes:
            self.wait(process)

    # --- names

    def test_names_come_from_programs_and_are_kept_apart(self):
        processes = []
        for names in (["sleep"], ["sleep", "sleep-2"], ["sleep", "sleep-2", "sleep-3"]):
            processes.append(self.launch("sleep", "100"))
            self.wait_for_names(*names)
        self.end(processes[1])
        self.wait_for_names("sleep", "sleep-3")
        processes.append(self.launch("/bin/sleep", "100"))
        self.wait_for_names("sleep", "sleep-2", "sleep-3")
        self.end(*processes)
        self.assertEqual(self.names(), [])

    def test_name_that_is_taken_is_refused(self):
        first = self.launch("--name", "x", "sleep", "100")
        self.wait_for_names("x")
        done = self.torpor("launch", "--name", "x", "--", "touch", self.directory / "tmp" / "ran")
        self.assert_fails(done, 108, "'x'", "torpor ps")
        self.assertFalse((self.directory / "tmp" / "ran").exists())
        self.end(first)

    def test_name_with_images_of_another_program_is_not_taken_unasked(self):
        generation = self.directory / "store" / "sleep" / "1"
        generation.mkdir(parents=True)
        (generation / "manifest.torpor").write_text("whatever")
        if self.uid is not None:
            for path in (generation, generation.parent, generation / "manifest.torpor"):
                os.chown(path, self.uid, self.uid)
        process = self.launch("sleep", "100")
        self.wait_for_names("sleep-2")
        self.end(process)

    def test_many_launches_at_once_get_different_names(self):
        processes = [self.launch("sleep", "100") for _ in range(12)]
        wanted = sorted(["sleep"] + [f"sleep-{i}" for i in range(2, 13)])
        wait_until(lambda: sorted(self.names()) == wanted, "all are running")
        self.end(*processes)
        self.assertEqual(list(self.sockets.iterdir()), [])

    # --- ps

    def test_ps_tells_about_a_computation(self):
        process = self.launch("--name", "x", "--interval", "1h", "sleep", "100")
        entry = self.computation("x")
        self.assertEqual(entry["supervisor_pid"], process.pid)
        self.assertEqual(entry["origin"], "launched")
        self.assertEqual(entry["command"], "sleep 100")
        self.assertEqual(entry["directory"], str(self.directory / "store"))
        self.assertEqual((entry["generation"], entry["interval_ms"]), (0, 3_600_000))
        self.assertLess(abs(entry["started_ns"] - time.time_ns()), 60e9)
        text = self.torpor_ok("ps")
        self.assertIn("NAME", text.splitlines()[0])
        self.assertIn("sleep 100", text.splitlines()[1])
        self.end(process)

    def test_ps_is_not_led_astray_by_names_of_arguments(self):
        process = self.start(self.torpor_command("launch", "--name", "x", "sh", "-c", "sleep 100; :")
                             + [b"a\nb\x1b[31m\"\\\xff"])
        self.assertTrue(self.computation("x")["command"].startswith("sh -c sleep 100; : a\nb\x1b"))
        self.assertEqual(len(self.torpor_ok("ps").splitlines()), 2)
        self.assertNotIn("\x1b", self.torpor_ok("ps"))
        os.killpg(self.computation("x")["pid"], signal.SIGKILL)
        self.wait(process)

    def test_store_in_a_directory_that_is_no_utf8(self):
        directory = os.fsencode(self.directory / "store") + b"/\xe4\xff"
        process = self.start(self.torpor_command("launch", "--name", "x", "--dir")
                             + [directory, b"sleep", b"100"])
        self.assertIn("\ufffd", self.computation("x")["directory"])
        self.end(process)

    # --- the socket

    def test_sockets_are_the_owners_alone(self):
        process = self.launch("--name", "x", "sleep", "100")
        self.wait_for_names("x")
        self.assertEqual(stat.S_IMODE(self.sockets.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE((self.sockets / "x.sock").stat().st_mode), 0o600)
        self.end(process)
        self.assertEqual(list(self.sockets.iterdir()), [])

    def test_directory_that_others_can_enter_is_refused(self):
        self.sockets.mkdir(mode=0o700)
        self.sockets.chmod(0o777)
        if self.uid is not None:
            os.chown(self.sockets, self.uid, self.uid)
        done = self.torpor("launch", "touch", self.directory / "tmp" / "ran")
        self.assert_fails(done, 103, str(self.sockets), "try:")
        self.assertFalse((self.directory / "tmp" / "ran").exists())

    @unittest.skipIf(os.geteuid() != 0, "needs another user")
    def test_another_user_is_turned_away(self):
        process = self.launch("--name", "x", "sleep", "100")
        self.wait_for_names("x")
        # Even if he could reach the socket.
        for path in (self.directory, self.directory / "run", self.sockets):
            path.chmod(0o755)
        (self.sockets / "x.sock").chmod(0o666)
        script = (f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{self.sockets}/x.sock');"
                  "s.sendall(b'\\x02\\0\\0\\0\\x0a\\0'); print(s.recv(100))")
        done = subprocess.run(["setpriv", "--reuid=65533", "--clear-groups", "/usr/bin/python3", "-c",
                               script], capture_output=True, text=True, check=False)
        self.assertTrue(done.stdout == "b''\n" or "reset" in done.stderr.lower()
                        or "broken pipe" in done.stderr.lower(), done)
        self.sockets.chmod(0o700)
        self.end(process)

    def test_hostile_clients_do_no_harm(self):
        process = self.launch("--name", "x", "sleep", "100")
        root = self.computation("x")["pid"]
        kept = []
        for words in (b"", b"\x05", b"\xff\xff\xff\xff", b"GET / HTTP/1.0\r\n\r\n", b"\0" * 4,
                      struct.pack("<I", 1 << 20), b"\x02\0\0\0\x12\x7f", os.urandom(100_000)):
            for keep in (False, True):
                client = socket.socket(socket.AF_UNIX)
                client.connect(str(self.sockets / "x.sock"))
                try:
                    client.sendall(words)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                if keep:
                    kept.append(client)
                else:
                    client.close()
                self.assertEqual(self.computation("x")["pid"], root)
        # Those who say nothing do not keep it from ending either, for more than a moment.
        began = time.monotonic()
        self.end(process)
        self.assertLess(time.monotonic() - began, 5)
        for client in kept:
            client.close()

    def test_supervisor_that_is_stopped_does_not_hang_others(self):
        process = self.launch("--name", "x", "sleep", "100")
        self.wait_for_names("x")
        process.send_signal(signal.SIGSTOP)
        self.assertEqual(self.names(), [])
        self.assert_fails(self.torpor("check", "x"), 109, "does not answer", "SIGCONT")
        process.send_signal(signal.SIGCONT)
        self.wait_for_names("x")
        self.end(process)

    # --- attach

    def test_attach_until_the_program_ends(self):
        program = self.start(self.user_command("sleep", "100"))
        process = self.start_torpor("attach", str(program.pid), "--name", "x")
        entry = self.computation("x")
        self.assertEqual((entry["pid"], entry["origin"]), (program.pid, "attached"))
        program.kill()
        self.assertEqual(self.wait(process), 0)

    def test_interrupt_ends_only_attach(self):
        program = self.start(self.user_command("sleep", "100"))
        name = pathlib.Path(f"/proc/{program.pid}/comm")
        wait_until(lambda: name.read_text() == "sleep\n", "the program is executed")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.start_torpor("attach", str(program.pid))
            self.wait_for_names("sleep")
            process.send_signal(number)
            self.assertEqual(self.wait(process), 0)
            self.assertTrue(is_alive(program.pid))
        program.kill()

    def test_attach_to_what_has_a_supervisor_is_refused(self):
        process = self.launch("--name", "x", "sh", "-c", "sleep 100; :")
        root = self.computation("x")["pid"]
        child = wait_until(lambda: torpor_testing.descendants(root), "the shell's child")[0]
        for pid in (root, child):
            self.assert_fails(self.torpor("attach", str(pid)), 108, "'x'", "torpor checkpoint x")
        os.killpg(root, signal.SIGKILL)
        self.wait(process)

    def test_attach_to_nothing(self):
        program = self.start(["true"])
        self.wait(program)
        self.assert_fails(self.torpor("attach", str(program.pid)), 107, str(program.pid))
        self.assert_fails(self.torpor("attach", "0"), 100)
        self.assert_fails(self.torpor("attach", "me"), 100)

    # --- commands that find nothing

    def test_nothing_to_be_found(self):
        for words, status in (
                (("checkpoint",), 102), (("checkpoint", "x"), 102), (("checkpoint", "4000000"), 102),
                (("check",), 102), (("check", "x"), 102), (("restart", "x"), 102),
                (("restart", "x@7"), 102), (("restart", "./nowhere"), 102),
                (("inspect", "x"), 102), (("verify", "x"), 102), (("prune", "x"), 102)):
            with self.subTest(words=words):
                self.assert_fails(self.torpor(*words), status, "torpor: ")

    def test_errors_as_json(self):
        done = self.torpor("checkpoint", "x", "--json")
        error = json.loads(done.stdout)["error"]
        self.assertEqual((done.returncode, done.stderr), (102, ""))
        self.assertEqual((error["code"], error["name"]), (102, "not_found"))
        self.assertTrue(error["what"] and error["remedy"])
        done = self.torpor("prune", "--nonsense", "--json")
        self.assertEqual(json.loads(done.stdout)["error"]["name"], "usage")

    def test_which_one_has_to_be_said_when_there_are_two(self):
        processes = [self.launch("sleep", "100") for _ in range(2)]
        self.wait_for_names("sleep", "sleep-2")
        self.assert_fails(self.torpor("checkpoint"), 100, "which one", "sleep sleep-2")
        self.end(*processes)

    def test_image_that_is_none(self):
        path = self.directory / "store" / "x" / "1"
        path.mkdir(parents=True)
        (path / "manifest.torpor").write_bytes(b"TORPOR? no")
        if self.uid is not None:
            for entry in (path.parent, path, path / "manifest.torpor"):
                os.chown(entry, self.uid, self.uid)
        for words in (("restart", path), ("restart", "--detach", path), ("inspect", path),
                      ("verify", path), ("check", path)):
            with self.subTest(words=words):
                self.assert_fails(self.torpor(*words), 104, "manifest.torpor")

    def test_full_output_is_an_error(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = self.torpor("version", stdout=full)
        self.assertEqual(done.returncode, 105)
        self.assertIn("No space left", done.stderr)

    def test_version(self):
        self.assertRegex(self.torpor_ok("version"), r"^torpor \d+\.\d+\.\d+ ")
        self.assertRegex(self.torpor_json("version")["version"], r"^\d+\.\d+\.\d+$")


torpor_testing.for_each_user(Control)
del Control

if __name__ == "__main__":
    torpor_testing.main()
