#!/usr/bin/python3
"""`torpor check --host` says what the host offers, and what follows from it: here, and where the kernel refuses
what environment.c says."""

import torpor_testing
from torpor_testing import TorporTest

NAMESPACES = {"user namespace", "pid namespace", "time namespace", "clone3 with set_tid", "mount of /proc"}
OTHERS = {"process_vm_readv", "pidfd_getfd", "kcmp"}
TRACE = {"ptrace of own children"}
REFUSED = {"a": NAMESPACES | {"clone3"}, "b": OTHERS | TRACE, "c": NAMESPACES | OTHERS | TRACE | {"clone3"}, "d": OTHERS}


class CheckHost(TorporTest):
    def look(self, letter: str) -> dict:
        self.environment_of_all = letter or None
        return self.torpor_json("check", "--host")

    def offered(self, letter: str) -> set[str]:
        return {entry["name"] for entry in self.look(letter)["host"] if entry["offered"]}

    def ways(self, letter: str) -> tuple[str, str]:
        seen = self.look(letter)
        for choice in (seen["mode"], seen["identity"]):
            self.assertTrue(choice["reason"])
        return seen["mode"]["way"], seen["identity"]["way"]

    def test_what_is_refused(self):
        here = self.offered("")
        self.assertLessEqual({"seccomp filter", "executable memfd"}, here)
        for letter, refused in REFUSED.items():
            with self.subTest(environment=letter):
                self.assertEqual(self.offered(letter), here - refused)

    def test_ways(self):
        if not TRACE | NAMESPACES <= self.offered(""):
            self.skipTest("this host refuses that itself")
        own = "host" if self.is_root() else "namespace"
        self.assertEqual(self.ways(""), ("external", own))
        self.assertEqual(self.ways("a"), ("external", "host" if self.is_root() else "table"))
        self.assertEqual(self.ways("b"), ("wrapped", "table"))
        self.assertEqual(self.ways("c"), ("wrapped", "table"))
        self.assertEqual(self.ways("d"), ("external", own))

    def test_text(self):
        self.environment_of_all = "b"
        said = self.torpor_ok("check", "--host")
        self.assertRegex(said, r"(?m)^ptrace of own children +no \(Operation not permitted\)$")
        self.assertRegex(said, r"(?m)^launch --mode +wrapped: .*trace its own children$")
        self.assertRegex(said, r"(?m)^restart --identity +table: ")

    def test_usage(self):
        self.environment_of_all = None
        self.assertNotEqual(self.torpor("check", "--host", "x").returncode, 0)


torpor_testing.for_each_user(CheckHost)
del CheckHost

if __name__ == "__main__":
    torpor_testing.main()
