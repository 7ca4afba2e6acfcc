#!/usr/bin/python3
"""Shows that layers.py finds each kind of offence at its line, and accepts what only looks like one.

Works on a temporary copy of ARCHITECTURE.md and src/; every case plants one thing in it.
"""

import pathlib
import shutil
import sys
import tempfile
import unittest

import layers

ROOT = pathlib.Path(__file__).parents[2]


class Layers(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        shutil.copy(ROOT / "ARCHITECTURE.md", self.root)
        # Headers alone: each case reads all that is there.
        shutil.copytree(ROOT / "src", self.root / "src", ignore=shutil.ignore_patterns("*.cpp"))
        self.plant("sys/planted_below.h", "#include <cstdint>\n")

    def plant(self, name, text):
        path = self.root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def offences(self):
        return [line.removeprefix(f"{self.root}/src/") for line in layers.check(self.root)]

    def expect(self, name, text, *places):
        """`text` planted as file `name` gives offences at exactly these places."""
        before = self.offences()
        self.plant(name, text)
        found = [line.split(": ")[0] for line in self.offences() if line not in before]
        self.assertEqual(found, list(places))

    def test_the_tree_itself_is_clean(self):
        self.assertEqual(self.offences(), [])

    def test_allowed_includes(self):
        self.expect("process/p.cpp", '#include "sys/planted_below.h"\n#include <vector>\n')

    def test_include_of_a_room_above(self):
        self.plant("process/planted.h", "")
        self.expect("base/p.cpp", '#include <map>\n\n  # include "process/planted.h"\n', "base/p.cpp:3")

    def test_include_after_a_comment_of_many_lines(self):
        self.expect("base/p.h", '/* a\n b */\n#include "sys/planted_below.h"\n', "base/p.h:3")

    def test_unit_tests_keep_to_the_layers_too(self):
        self.expect("base/p_test.cpp", '#include "sys/planted_below.h"\n', "base/p_test.cpp:1")

    def test_include_of_an_unknown_room(self):
        self.expect("base/p.cpp", '#include "attic/x.h"\n', "base/p.cpp:1")

    def test_include_that_is_not_relative_to_src(self):
        self.expect("base/p.cpp", '#include "error.h"\n#include "../sys/x.h"\n',
                    "base/p.cpp:1", "base/p.cpp:2")

    def test_include_of_ours_in_angle_brackets(self):
        self.expect("base/p.cpp", "#include <sys/planted_below.h>\n", "base/p.cpp:1")

    def test_include_of_the_systems_directory_of_the_same_name(self):
        self.expect("base/p.cpp", "#include <sys/mman.h>\n")

    def test_include_of_nothing(self):
        self.expect("base/p.cpp", '#include "base/nowhere.h"\n', "base/p.cpp:1")

    def test_include_through_a_macro(self):
        self.expect("base/p.cpp", "#include HEADER\n", "base/p.cpp:1")

    def test_file_in_an_unknown_room(self):
        self.expect("attic/p.cpp", "", "attic/p.cpp:1")

    def test_no_include_in_comments_and_raw_strings(self):
        self.expect("base/p.cpp", '// #include "cli/x.h"\n/*\n#include "cli/x.h"\n*/\n'
                                  'auto x = R"(\n#include "cli/x.h"\n)";\n')

    def test_library_in_freestanding_code(self):
        self.expect("agent/p.cpp", "#include <cstdint>\n#include <string>\n", "agent/p.cpp:2")

    def test_library_in_what_freestanding_code_includes(self):
        self.plant("agent/p.cpp", '#include "sys/planted_below.h"\n')
        self.expect("sys/planted_below.h", "\n#include <string>\n", "sys/planted_below.h:2")

    def test_hosted_files_among_freestanding_ones(self):
        self.expect("agent/blob.h", "#include <string>\n")
        self.expect("agent/p.cpp", '#include "agent/blob.h"\n', "agent/blob.h:1")

    def test_room_reached_by_freestanding_code_through_another(self):
        self.plant("base/planted.h", "")
        self.plant("agent/p.cpp", '#include "sys/planted_below.h"\n')
        self.expect("sys/planted_below.h", '#include "base/planted.h"\n', "sys/planted_below.h:1")

    def test_raw_calls(self):
        self.expect("image/p.cpp", "int a = ptrace(0);\nint b = ::syscall (1);\n"
                                   "int c = sys::process_vm_readv(1);\nint d = process_vm_writev();\n",
                    *(f"image/p.cpp:{line}" for line in (1, 2, 3, 4)))

    def test_assembly(self):
        self.expect("image/p.cpp", '\nvoid f() { asm volatile("nop"); }\nint big = 1\'000;\n'
                                   'void g() { __asm__("nop"); }\n', "image/p.cpp:2", "image/p.cpp:4")
        self.expect("image/q.S", "nop\n", "image/q.S:1")

    def test_raw_calls_where_they_belong(self):
        self.expect("process/p.cpp", "int a = ptrace(0);\n")
        self.expect("sys/arch/x86_64/p.S", "nop\n")
        self.expect("image/p_test.cpp", "int a = ptrace(0);\n")

    def test_what_only_looks_like_a_raw_call(self):
        self.expect("image/p.cpp", 'auto a = held.syscall(1);\nauto b = held->syscall(1);\n'
                                   '// ptrace(\nauto c = "syscall(";\nint my_ptrace(int asm_count);\n')

    def test_table_with_a_cycle_or_a_stranger(self):
        text = (self.root / "ARCHITECTURE.md").read_text()
        for planted in ("base:       cli\n", "base:       attic\n"):
            (self.root / "ARCHITECTURE.md").write_text(text.replace("base:\n", planted))
            with self.assertRaises(SystemExit):
                layers.check(self.root)

    def test_no_table(self):
        (self.root / "ARCHITECTURE.md").write_text("# Architecture\n")
        with self.assertRaises(SystemExit):
            layers.check(self.root)

    def test_nothing_to_check(self):
        shutil.rmtree(self.root / "src")
        (self.root / "src").mkdir()
        with self.assertRaises(SystemExit):
            layers.check(self.root)


if __name__ == "__main__":
    sys.exit(unittest.main())
