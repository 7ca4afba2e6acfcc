#!/usr/bin/python3
"""Images that are not what they were: cut, changed in single bits, with files missing or exchanged, of
a newer version. Each is refused as what it is, by verify and by restart, before anything runs."""

import os
import pathlib
import random
import shutil
import struct

import manifest_editor
import torpor_testing
from faults import BAD_IMAGE, PERMISSION, FaultTest
from manifest_editor import FORMAT_VERSION, edit_manifest

PAGE = 4096


class DamagedImage(FaultTest):
    """One image for all tests; each works on a copy."""

    uid = torpor_testing.ORDINARY_UID if os.geteuid() == 0 else None

    def setUp(self):
        super().setUp()
        self.last = self.image_of_killed("--mib", "1")
        self.image = self.image_path(1)
        self.sound = self.directory / "sound"
        shutil.copytree(self.image, self.sound)
        self.names = sorted(path.name for path in self.sound.iterdir())
        self.kinds = {"manifest": "manifest.torpor",
                      "core": max((n for n in self.names if n.endswith(".core")), key=self.size),
                      "extents": next(n for n in self.names if n.endswith(".extents")),
                      "shared memory": next(n for n in self.names if n.endswith(".mem"))}

    def size(self, name: str) -> int:
        return (self.sound / name).stat().st_size

    def path(self, kind: str) -> pathlib.Path:
        return self.image / self.kinds[kind]

    def mend(self) -> None:
        for entry in self.image.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                entry.rmdir()
            else:
                entry.unlink()
        for name in self.names:
            shutil.copy(self.sound / name, self.image / name)
            os.chown(self.image / name, os.geteuid() if self.uid is None else self.uid, -1)

    def assert_refused(self, *words: str, restart: bool = True, status: int = BAD_IMAGE) -> None:
        """And mended afterwards."""
        commands = [("verify",), ("restart",)] if restart else [("verify",)]
        for command in commands:
            done = self.torpor(*command, self.NAME, timeout=30)
            self.assert_said(done, status, *words)
            self.assertEqual(done.stdout, "")
        self.assert_no_processes()
        self.mend()

    def tearDown(self):
        # Whatever was done to it: put back, it is as good as ever.
        if self.generations() == ["1"]:
            self.mend()
            self.assert_restarts(self.NAME, self.last, self.last)
            self.assert_nothing_left()
        super().tearDown()

    # --- cut

    def offsets(self, kind: str) -> dict[int, str]:
        """Where sections begin, in the file."""
        size = self.size(self.kinds[kind])
        places = {0: "beginning", 1: "first byte", size // 3: "inside", size - 1: "last byte"}
        if kind == "manifest":
            places |= {7: "magic", 8: "version", 12: "header size", 31: "header", 32: "body"}
        if kind == "core":
            data = (self.sound / self.kinds[kind]).read_bytes()
            headers, notes = struct.unpack_from("<Q", data, 32)[0], data.find(b"CORE\0")
            places |= {63: "ELF header", PAGE - 1: "first page", PAGE: "pages", PAGE + 1: "page",
                       2 * PAGE: "second page", notes - 12: "notes", notes + 50: "note",
                       headers: "program headers", headers + 56: "second program header"}
        if kind == "extents":
            places |= {8: "header", 32: "first entries", 64: "entries"}
        return {at: what for at, what in places.items() if 0 <= at < size}

    def test_truncated(self):
        for kind in self.kinds:
            for at, what in self.offsets(kind).items():
                with self.case(kind, "cut at", at, what):
                    os.truncate(self.path(kind), at)
                    self.assert_refused(self.path(kind).name)

    def test_grown(self):
        for kind in self.kinds:
            for more in (b"\0", b"x" * PAGE):
                with self.case(kind, "and", len(more), "bytes"):
                    with open(self.path(kind), "ab") as file:
                        file.write(more)
                    self.assert_refused(self.path(kind).name)

    # --- bits flipped

    def flip(self, kind: str, at: int, bit: int) -> None:
        with open(self.path(kind), "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << bit]))

    def test_flipped_in_every_section(self):
        for kind in self.kinds:
            for at, what in self.offsets(kind).items():
                with self.case(kind, "flipped at", at, what):
                    self.flip(kind, at, at % 8)
                    self.assert_refused()

    def test_flipped_anywhere(self):
        """Every page of the core, and many places of the others; one bit each."""
        source = random.Random(1)
        for kind in self.kinds:
            size = self.size(self.kinds[kind])
            places = {source.randrange(size) for _ in range(40)}
            if kind == "core":
                places |= {page + source.randrange(PAGE) for page in range(0, size - PAGE, 2 * PAGE)}
            for at in sorted(places):
                with self.case(kind, "flipped at", at):
                    self.flip(kind, at, source.randrange(8))
                    self.assert_refused(restart=False)

    def test_flipped_page_is_named(self):
        """The message says what is damaged: process, address and place."""
        self.flip("core", PAGE + 5, 3)
        pid = self.kinds["core"].removesuffix(".core")
        self.assert_refused(f"process {pid}", "address 0x", "checksum", "try: use an earlier")

    # --- files

    def test_missing_file(self):
        for kind in self.kinds:
            with self.case(kind):
                self.path(kind).unlink()
                self.assert_refused("try: use an earlier")

    def test_file_of_another_type(self):
        for kind in self.kinds:
            for make in (os.mkdir, os.mkfifo, lambda path: os.symlink(self.sound / path.name, path)):
                with self.case(kind, make):
                    self.path(kind).unlink()
                    make(self.path(kind))
                    done = self.torpor("verify", self.NAME, timeout=30)
                    self.assert_said(done, done.returncode)
                    self.assertGreaterEqual(done.returncode, 100)
                    self.assertEqual(self.torpor("restart", self.NAME).returncode, done.returncode)
                    self.mend()

    @torpor_testing.unittest.skipIf(os.geteuid() != 0, "needs a second user")
    def test_file_without_permission(self):
        for kind in self.kinds:
            with self.case(kind):
                os.chown(self.path(kind), 0, 0)
                self.assert_refused(self.path(kind).name, "Permission denied", status=PERMISSION)

    def test_exchanged_files(self):
        cores = [name for name in self.names if name.endswith(".core")]
        extents = [name for name in self.names if name.endswith(".extents")]
        for one, other in (cores, extents):
            with self.case(one, other):
                shutil.copy(self.sound / one, self.image / other)
                shutil.copy(self.sound / other, self.image / one)
                self.assert_refused()

    def test_no_image_at_all(self):
        for name in self.names:
            (self.image / name).unlink()
        self.assert_refused("not an image")
        (self.directory / "store" / self.NAME / "2").mkdir()
        os.chown(self.directory / "store" / self.NAME / "2", self.uid or -1, -1)
        self.assert_said(self.torpor("restart", self.NAME), BAD_IMAGE, "not an image")
        (self.directory / "store" / self.NAME / "2").rmdir()

    # --- manifests that are well-formed

    def test_newer_version(self):
        """Said even if nothing else of it can be understood."""
        newer = 2
        edit_manifest(self.path("manifest"), lambda m: m.set(FORMAT_VERSION, newer), newer)
        self.assert_refused("version 2", "try: use a newer torpor")
        data = self.path("manifest").read_bytes()
        self.path("manifest").write_bytes(data[:8] + struct.pack("<I", 99) + b"something else")
        self.assert_refused("version 99", "try: use a newer torpor")

    def test_versions_that_contradict_each_other(self):
        edit_manifest(self.path("manifest"), lambda m: m.set(FORMAT_VERSION, 7))
        self.assert_refused("version")

    def test_manifest_that_forgets_things(self):
        """Each field of the manifest and of the computation left out in turn: a clear refusal, or the
        program as it was, never a crash."""
        data = manifest_editor.Message(self.path("manifest").read_bytes()[32:])
        numbers = {field[0] for field in data.fields}
        for number in sorted(numbers):
            with self.subTest(field=number):
                edit_manifest(self.path("manifest"), lambda m, n=number: m.fields.__setitem__(
                    slice(None), [field for field in m.fields if field[0] != n]))
                self.assert_no_crash()
        inner = manifest_editor.Message(data.get(manifest_editor.COMPUTATION))
        for number in sorted({field[0] for field in inner.fields}):
            with self.subTest(field_of_computation=number):
                def forget(message, n=number):
                    message.fields = [field for field in message.fields if field[0] != n]
                edit_manifest(self.path("manifest"),
                              lambda m, f=forget: m.edit(manifest_editor.COMPUTATION, f))
                self.assert_no_crash()

    def assert_no_crash(self) -> None:
        done = self.torpor("verify", self.NAME, timeout=30)
        self.assertTrue(done.returncode == 0 or done.returncode >= 100, done)
        process = self.start_torpor("restart", self.NAME)
        torpor_testing.wait_until(lambda: process.poll() is not None or
                                  torpor_testing.select.select([process.stdout], [], [], 0)[0],
                                  "it runs or has been refused")
        process.terminate()
        status = self.wait(process)
        self.assertIn(status, (0, *range(100, 110), 128 + 15), process.stderr.read())
        self.assert_no_processes()
        self.mend()

    # --- generations

    def test_good_generation_is_not_given_up_for_a_damaged_one(self):
        steady = self.bring_back()
        for _ in range(2):
            self.torpor_ok("checkpoint", self.NAME)
        self.flip_manifest("2")
        self.flip_manifest("3")
        self.torpor_ok("prune", "--keep", "1", self.NAME)
        self.assertEqual(self.generations(), ["1", "2", "3"])
        self.torpor_ok("verify", f"{self.NAME}@1")
        self.assert_said(self.torpor("restart", f"{self.NAME}@3", "--name", "other"), BAD_IMAGE)
        self.torpor_ok("checkpoint", self.NAME)
        self.torpor_ok("prune", "--keep", "1", self.NAME)
        self.assertEqual(self.generations(), ["4"])
        steady.end()

    def flip_manifest(self, generation: str) -> None:
        path = self.image_path(generation) / "manifest.torpor"
        data = bytearray(path.read_bytes())
        data[100] ^= 4
        path.write_bytes(data)


if __name__ == "__main__":
    torpor_testing.main()
