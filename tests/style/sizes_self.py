#!/usr/bin/python3
"""Shows that sizes.py finds a file that is too long, and only that."""

import pathlib
import sys
import tempfile
import unittest

import sizes


class Sizes(unittest.TestCase):
    def check(self, lines):
        with tempfile.TemporaryDirectory() as directory:
            source = pathlib.Path(directory) / "src" / "base"
            source.mkdir(parents=True)
            (source / "file.cpp").write_text("\n" * lines)
            return sizes.check(pathlib.Path(directory))

    def test_at_the_limit(self):
        self.assertEqual(self.check(sizes.MAX_LINES), [])

    def test_above_the_limit(self):
        self.assertEqual(len(self.check(sizes.MAX_LINES + 1)), 1)

    def test_nothing_to_check(self):
        with tempfile.TemporaryDirectory() as directory, self.assertRaises(SystemExit):
            sizes.check(pathlib.Path(directory))


if __name__ == "__main__":
    sys.exit(unittest.main())
