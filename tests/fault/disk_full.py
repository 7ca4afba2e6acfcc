#!/usr/bin/python3
"""Too little room for an image, at every size of it: the checkpoint fails with a clear message, the
program goes on, the last image is as good as before."""
# ctest: TIMEOUT 900 PROCESSORS 2 COST 100

import ctypes
import os
import resource
import subprocess
import unittest

import torpor_testing
from faults import IO, PERMISSION, FaultTest, mounts

CLONE_NEWNS = 0x20000
PAGE = 4096


def own_mount_namespace() -> bool:
    """So that what we mount is seen by nobody else, and goes with us."""
    libc = ctypes.CDLL(None, use_errno=True)
    return (libc.unshare(CLONE_NEWNS) == 0 and
            subprocess.run(["mount", "--make-rprivate", "/"], check=False).returncode == 0)


class FullFileSystem(FaultTest):
    """The image store is a small file system of its own."""

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0 or not own_mount_namespace():
            raise unittest.SkipTest("only root can mount a small file system")
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.store = self.directory / "store"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0700,uid={self.uid or 0}", "tmpfs",
                        self.store], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.store], check=False)

        self.mounts = mounts()

    def limit(self, pages: int | None = None, files: int | None = None) -> None:
        """How many pages and files more than now fit. None: as many as are wanted."""
        now = os.statvfs(self.store)
        size = (now.f_blocks - now.f_bfree) + (pages if pages is not None else 100_000)
        inodes = (now.f_files - now.f_ffree) + (files if files is not None else 100_000)
        subprocess.run(["mount", "-o", f"remount,size={max(size, 1) * PAGE},nr_inodes={inodes}",
                        self.store], check=True)

    def used(self) -> tuple[int, int]:
        now = os.statvfs(self.store)
        return now.f_blocks - now.f_bfree, now.f_files - now.f_ffree

    def checkpoint_fails(self, steady, before) -> bool:
        """One more checkpoint; False if it succeeded."""
        known = self.generations()
        done = self.checkpoint(steady.pid, "--name", self.NAME, "--keep", "99")
        if done.returncode == 0:
            self.assertEqual(len(self.generations()), len(known) + 1)
            return False
        self.assert_said(done, IO, "No space left on device", "try: free space")
        self.assertEqual(self.generations(), known)
        self.assert_unharmed(steady, before)
        self.assert_nothing_left()
        return True

    def test_disk_full(self):
        steady = self.start_steady()
        empty = self.used()
        first = self.checkpoint_ok(steady)
        pages, files = (now - was for now, was in zip(self.used(), empty))
        before = self.pictures(steady)
        failures = 0
        for more in sorted({*range(8), *range(8, pages - 8, 5), *range(pages - 8, pages + 8)}):
            with self.case(more, "of", pages, "pages"):
                self.limit(pages=more)
                if not self.checkpoint_fails(steady, before):
                    break
                failures += 1
        self.assertGreater(failures, pages // 5)
        self.assertLess(more, pages + 8)
        for more in range(files + 1):
            with self.case(more, "of", files, "files"):
                self.limit(files=more)
                self.assertEqual(self.checkpoint_fails(steady, before), more < files - 1)
        self.limit()
        self.assert_images_sound(2)
        self.assert_restarts(f"{self.NAME}@1", *first)
        self.assert_restarts(f"{self.NAME}@1", *first)
        last = self.checkpoint_ok(steady, "--kill")
        self.assert_restarts(self.NAME, *last)

    def test_program_is_not_ended_without_an_image(self):
        steady = self.start_steady()
        before = self.pictures(steady)
        for pages in (0, 3, 20, 60):
            with self.case(pages, "pages"):
                self.limit(pages=pages)
                done = self.checkpoint(steady.pid, "--name", self.NAME, "--kill")
                self.assert_said(done, IO, "No space left on device", "try: free space")
                self.assert_unharmed(steady, before)
        self.limit()
        last = self.checkpoint_ok(steady, "--kill")
        self.assert_restarts(self.NAME, *last)

    def test_periodic_checkpoints_find_room_again(self):
        """The supervisor says what is wrong and tries again."""
        self.limit(pages=5)
        process = self.start_torpor("launch", "--name", self.NAME, "--interval", "200ms", "--",
                                    self.steady_path)
        steady = self.watch(process, None)
        torpor_testing.wait_until(
            lambda: "No space left" in self.torpor_json("ps")[0]["last_failure"], "it fails")
        self.assertEqual(self.generations(), [])
        self.limit()
        torpor_testing.wait_until(lambda: len(self.generations()) >= 2, "it succeeds")
        steady.wait_for_steps()
        self.assertIn("No space left", steady.errors())
        steady.end()
        self.assert_images_sound(2)

    def test_read_only(self):
        steady = self.start_steady()
        first = self.checkpoint_ok(steady)
        before = self.pictures(steady)
        subprocess.run(["mount", "-o", "remount,ro", self.store], check=True)
        done = self.checkpoint(steady.pid, "--name", self.NAME)
        self.assert_said(done, IO, "Read-only file system", "--dir")
        self.assert_unharmed(steady, before)
        self.assert_restarts(self.NAME, *first)
        steady.end()




class FileSizeLimit(FaultTest):
    """`ulimit -f` of whoever takes the checkpoint."""

    def test_file_size_limit(self):
        steady = self.start_steady()
        first = self.checkpoint_ok(steady)
        sizes = sorted({path.stat().st_size for path in self.image_path(1).iterdir()})
        before = self.pictures(steady)
        limits = {0, 1, 31, 32, PAGE - 1, PAGE, PAGE + 1}
        limits |= {max(0, size + by) for size in sizes for by in (-PAGE, -1, 0)}
        limits |= set(range(0, sizes[-1], 16 * PAGE))
        for limit in sorted(limits):
            with self.case(limit, "bytes"):
                known = self.generations()
                done = self.checkpoint(
                    steady.pid, "--name", self.NAME, "--keep", "2",
                    preexec_fn=lambda size=limit: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                                     (size, size)))
                if limit >= sizes[-1] + PAGE or done.returncode == 0:
                    self.assertGreaterEqual(limit, sizes[-1] - PAGE)
                    continue
                self.assert_said(done, IO, "File too large", "ulimit -f")
                self.assertEqual(self.generations(), known)
                self.assert_unharmed(steady, before)
                self.assert_nothing_left()
        self.assert_images_sound(1)
        self.assert_restarts(self.NAME, first[0], steady.output.last)
        last = self.checkpoint_ok(steady, "--kill")
        self.assert_restarts(self.NAME, *last)


class ForbiddenDirectory(FaultTest):
    """The store of somebody else."""

    uid = torpor_testing.ORDINARY_UID if os.geteuid() == 0 else None

    def test_forbidden_directory(self):
        steady = self.start_steady()
        before = self.pictures(steady)
        self.checkpoint_ok(steady)
        (self.directory / "store" / self.NAME).chmod(0o500)
        done = self.checkpoint(steady.pid, "--name", self.NAME)
        self.assertIn(done.returncode, (IO, PERMISSION), done.stderr)
        self.assert_said(done, done.returncode, "Permission denied", "--dir")
        self.assert_unharmed(steady, before)
        (self.directory / "store" / self.NAME).chmod(0o700)
        last = self.checkpoint_ok(steady, "--kill")
        self.assert_restarts(self.NAME, *last)
        self.assert_nothing_left()


for case in (FullFileSystem, FileSizeLimit):
    torpor_testing.for_each_user(case)
del FullFileSystem, FileSizeLimit, case

if __name__ == "__main__":
    torpor_testing.main()
