#!/usr/bin/python3
"""Hosts and files that are not as they would have to be: a processor with less, a file that is missing,
changed or forbidden, no user namespaces, no ptrace, another restart of the same image. Each is said
with a remedy; the program or the image is as good as before."""

import os
import pathlib

import torpor_testing
from faults import CONFLICT, HOST_LACKS, PERMISSION, REFUSED, FaultTest
from manifest_editor import CPU_FEATURES, HOST, XFEATURES, edit_manifest
from torpor_testing import wait_until

DIGITS = b"0123456789"


class UnfitHost(FaultTest):
    def torpor_in(self, letter: str, *words):
        """Runs torpor where the kernel refuses something."""
        launcher = self.user_command(*self.environment_command(letter), self.torpor_path, *words)
        return torpor_testing.subprocess.run(
            launcher, env=self.environment, cwd=self.directory, stdin=torpor_testing.subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, check=False)

    def assert_restart_is_refused(self, status: int, *words: str, options: tuple = ()) -> None:
        done = self.torpor("restart", self.NAME, *options)
        self.assert_said(done, status, *words, "try:")
        self.assertEqual(done.stdout, "", "something has run")
        self.assert_nothing_left()

    # --- the processor

    def test_processor_that_lacks_instructions(self):
        last = self.image_of_killed()
        manifest = self.image_path(1) / "manifest.torpor"
        sound = manifest.read_bytes()
        changes = (lambda host: host.add(CPU_FEATURES, "avx1024_of_tomorrow"),
                   lambda host: host.set(XFEATURES, host.get(XFEATURES) | 1 << 61))
        for change, word in zip(changes, ("avx1024_of_tomorrow", "register")):
            with self.case(word):
                edit_manifest(manifest, lambda m, c=change: m.edit(HOST, c))
                self.assert_restart_is_refused(REFUSED, word)
                self.assert_fails(self.torpor("check", self.image_path(1)), REFUSED)
                manifest.write_bytes(sound)
        self.assert_restarts(self.NAME, last, last)

    # --- files

    def file(self, name: str, content: bytes = DIGITS) -> pathlib.Path:
        path = self.directory / name
        path.write_bytes(content)
        path.chmod(0o644)
        if self.uid is not None:
            os.chown(path, self.uid, -1)
        return path

    def image_with_files(self) -> tuple[int, list[pathlib.Path]]:
        """One that is open, one that is mapped."""
        files = [self.file("opened"), self.file("mapped")]
        last = self.image_of_killed("--file", str(files[0]), "--map", str(files[1]))
        return last, files

    def test_missing_file(self):
        last, files = self.image_with_files()
        for path in files:
            with self.case(path.name):
                hidden = path.with_suffix(".hidden")
                path.rename(hidden)
                self.assert_restart_is_refused(REFUSED, str(path))
                hidden.rename(path)
        self.assert_restarts(self.NAME, last, last)

    def test_changed_file(self):
        last, files = self.image_with_files()
        for path in files:
            with self.case(path.name):
                kept = path.with_suffix(".kept")
                path.rename(kept)
                self.file(path.name, b"9876543210 and more")
                self.assert_restart_is_refused(REFUSED, str(path))
                kept.replace(path)
        self.assert_restarts(self.NAME, last, last)

    def test_forbidden_file(self):
        if self.is_root():
            self.skipTest("nothing is forbidden to root")
        last, files = self.image_with_files()
        for path in files:
            with self.case(path.name):
                path.chmod(0)
                self.assert_restart_is_refused(REFUSED, str(path), "Permission denied")
                path.chmod(0o644)
        self.assert_restarts(self.NAME, last, last)

    # --- the kernel's policy

    def test_no_user_namespaces(self):
        if self.is_root():
            self.skipTest("root needs none")
        last = self.image_of_killed()
        done = self.torpor_in("a", "restart", self.NAME, "--identity", "namespace")
        self.assert_said(done, HOST_LACKS, "namespace", "try:")
        self.assertEqual(done.stdout, "", "something has run")
        self.assert_nothing_left()
        self.assert_restarts(self.NAME, last, last)

    def test_no_ptrace(self):
        steady = self.start_steady()
        first = self.checkpoint_ok(steady)
        before = self.pictures(steady)
        done = self.torpor_in("b", "checkpoint", steady.pid, "--name", self.NAME)
        self.assert_said(done, PERMISSION, "trace", "try:")
        self.assertEqual(self.generations(), ["1"])
        self.assert_unharmed(steady, before)
        self.assert_nothing_left()
        steady.end()
        self.assert_restarts(self.NAME, *first)

    def test_no_ptrace_for_a_restart(self):
        last = self.image_of_killed()
        done = self.torpor_in("b", "restart", self.NAME, "--identity", "namespace")
        self.assertIn(done.returncode, (PERMISSION, HOST_LACKS), done.stderr)
        self.assert_said(done, done.returncode, "trace", "try:")
        self.assertEqual(done.stdout, "", "something has run")
        self.assert_nothing_left()
        self.assert_restarts(self.NAME, last, last)

    # --- two at once

    def test_two_restarts_of_one_name(self):
        """One runs, the other says why it does not."""
        last = self.image_of_killed()
        for _ in range(5):
            both = [self.start_torpor("restart", self.NAME) for _ in range(2)]
            wait_until(lambda b=both: any(p.poll() is not None for p in b), "one gives up")
            loser = next(p for p in both if p.poll() is not None)
            winner, = (p for p in both if p is not loser)
            self.assertEqual(loser.returncode, CONFLICT, loser.stderr.peek())
            self.assertIn(b"try:", loser.stderr.read())
            self.assertEqual(loser.stdout.read(), b"")
            steady = self.watch(winner, None)
            self.assertEqual(steady.output.first, last + 1)
            steady.end()
            self.assert_nothing_left()

    def test_two_restarts_of_one_image(self):
        """Under two names both run, each from the same step, and do not disturb each other."""
        last = self.image_of_killed()
        for _ in range(3):
            both = [self.start_torpor("restart", self.NAME, "--name", name) for name in ("a", "b")]
            steadies = [self.watch(process, None) for process in both]
            for steady in steadies:
                self.assertEqual(steady.output.first, last + 1)
                steady.wait_for_steps()
            for steady in steadies:
                steady.end()
            self.assert_nothing_left()


torpor_testing.for_each_user(UnfitHost)
del UnfitHost

if __name__ == "__main__":
    torpor_testing.main()
