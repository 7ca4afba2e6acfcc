#!/usr/bin/python3
"""The environments in which other tests run torpor refuse what they say, and nothing else."""

import errno
import json
import pathlib
import shutil
import subprocess

import torpor_testing
from torpor_testing import TorporTest

OTHERS = {"process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"}


def namespace_calls(calls) -> set[str]:
    return {name for name in calls if name.startswith(("unshare", "clone", "setns"))}


class Environments(TorporTest):
    def setUp(self):
        super().setUp()
        self.probe = self.directory / "what_is_refused.py"
        shutil.copy(pathlib.Path(__file__).parents[1] / "support" / self.probe.name, self.probe)
        self.probe.chmod(0o644)

    def run_command(self, *command) -> subprocess.CompletedProcess:
        return subprocess.run(self.user_command(*command), cwd=self.directory, check=False, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def look(self, *launcher) -> dict:
        done = self.run_command(*launcher, "/usr/bin/python3", self.probe)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def assert_refused(self, letter: str, refused: set[str], without: dict[str, int]) -> None:
        calls = self.look(*self.environment_command(letter))["calls"]
        for name, result in calls.items():
            with self.subTest(environment=letter, call=name):
                if name not in refused:
                    self.assertEqual(result, without[name])
                    continue
                self.assertEqual(result, errno.ENOSYS if name == "clone3" else errno.EPERM)

    def test_no_privileges(self):
        privileges = self.look(*self.environment_command("c"))["privileges"]
        if not self.is_root():
            privileges.pop("CapBnd")  # not for him to change, and no_new_privs makes it of no use
        self.assertEqual(privileges.pop("NoNewPrivs"), 1)
        self.assertEqual(set(privileges.values()), {0}, privileges)

    def test_privileges_elsewhere(self):
        if not self.is_root():
            self.skipTest("the filter of an ordinary user needs no_new_privs")
        before = self.look()["privileges"]
        for letter in "abd":
            self.assertEqual(self.look(*self.environment_command(letter))["privileges"], before)

    def test_usage(self):
        launcher, letter, dashes = self.environment_command("a")
        for words in ((), ("x", dashes, "true"), ("ab", dashes, "true"), (letter, "true"), (letter, dashes)):
            done = self.run_command(launcher, *words)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn("usage", done.stderr)

    def test_status(self):
        self.assertEqual(self.run_command(*self.environment_command("a"), "/nowhere").returncode, 127)
        self.assertEqual(self.run_command(*self.environment_command("a"), "false").returncode, 1)


torpor_testing.for_each_user(Environments)
del Environments

if __name__ == "__main__":
    torpor_testing.main()
