#!/usr/bin/python3
"""Shows that agent_blob.py finds each kind of offence, and nothing in a blob that is as it should be.

Every case compiles and links a tiny agent with one thing wrong.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import agent_blob

COMPILE = ["gcc", "-c", "-Os", "-ffreestanding", "-fPIE", "-fno-stack-protector",
           "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-mgeneral-regs-only"]
LINK = ["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noexecstack"]
LAYOUT = """
ENTRY(_start)
PHDRS { blob PT_LOAD FLAGS(5); stack PT_GNU_STACK FLAGS(6); }
SECTIONS {
  . = 0x100000;
  .text : { *(.text .text.*) *(.rodata .rodata.*) } :blob
  /DISCARD/ : { *(.comment) *(.note.*) *(.eh_frame*) }
}
"""
CLEAN = """
/* The letters b and f begin vector and x87 instructions when taken for code. */
static const char text[] = "bbbbffff\\xd9\\xe8";
int use(int n) { __asm__ volatile(""); return text[n & 7]; }
void _start(void) { for (;;) __asm__ volatile("syscall" : : "a"(use(60)) : "rcx", "r11"); }
"""


class AgentBlob(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def build(self, code="", compile_with=(), without=(), link_with=(), layout=LAYOUT, link=LINK):
        source, script = self.directory / "agent.c", self.directory / "agent.lds"
        elf, made = self.directory / "agent", self.directory / "agent.o"
        source.write_text(CLEAN + code)
        script.write_text(layout)
        flags = [flag for flag in COMPILE if flag not in without]
        subprocess.run([*flags, *compile_with, source, "-o", made], check=True)
        subprocess.run([*link, *link_with, f"-Wl,-T,{script}", made, "-o", elf], check=True,
                       stderr=subprocess.DEVNULL)  # the linker warns of some cases itself
        return str(elf), [str(made)]

    def expect(self, offence, *arguments, **options):
        found = agent_blob.check(*self.build(*arguments, **options))
        self.assertTrue(any(offence in line for line in found), f"'{offence}' not in {found}")

    def test_clean(self):
        self.assertEqual(agent_blob.check(*self.build()), [])

    def test_exit_status(self):
        for code, status in (("", 0), ("int changes = 1;", 1)):
            elf, objects = self.build(code)
            done = subprocess.run(["/usr/bin/python3", "-B", agent_blob.__file__, elf, *objects],
                                  stdout=subprocess.DEVNULL, check=False)
            self.assertEqual(done.returncode, status)

    def test_undefined_symbol(self):
        self.expect("undefined symbol missing",
                    "void missing(void) __attribute__((weak)); void f(void) { missing(); }")

    def test_initialized_global(self):
        self.expect(".data (4 bytes): writable globals", "int changes = 1;")

    def test_zeroed_global(self):
        self.expect(".bss (64 bytes): writable globals", "char changes[64];")

    def test_table_of_pointers(self):
        self.expect("writable globals", "const char* const names[] = {text, text + 1};")

    def test_constructor(self):
        self.expect(".init_array", "__attribute__((constructor)) void f(void) { use(1); }")

    def test_destructor(self):
        self.expect(".fini_array", "__attribute__((destructor)) void f(void) { use(1); }")

    def test_constructor_of_the_old_kind(self):
        self.expect(".ctors", '__attribute__((section(".ctors"))) void* const f = 0;')

    def test_thread_local(self):
        self.expect("thread-local variables", "__thread int mine = 1;")

    def test_thread_pointer(self):
        self.expect("f: the program's thread-local storage",
                    'long f(void) { long x; __asm__("mov %%fs:0x28,%0" : "=r"(x)); return x; }')

    def test_relocations_left(self):
        self.expect("relocations that nobody applies", link_with=["-Wl,--emit-relocs"])

    def test_absolute_address(self):
        self.expect("absolute address (R_X86_64_64)",
                    "const char* const names[] = {text, text + 1};", compile_with=["-fno-pie"])

    def test_dynamic(self):
        dynamic = ["gcc", "-nostdlib", "-pie"]
        self.expect("a dynamic section", link=dynamic)
        self.expect("PT_DYNAMIC", link=dynamic, layout=LAYOUT.replace("stack PT_GNU_STACK",
                    "dynamic PT_DYNAMIC; stack PT_GNU_STACK").replace("  /DISCARD/",
                    "  .dynamic : { *(.dynamic) } :blob :dynamic\n  /DISCARD/"))

    def test_two_segments(self):
        two = LAYOUT.replace("stack PT", "more PT_LOAD FLAGS(4); stack PT").replace(
            "*(.rodata .rodata.*) } :blob", "} :blob  .rodata : { *(.rodata .rodata.*) } :more")
        self.expect("it has ['RE', 'R']", layout=two)

    def test_writable_segment(self):
        self.expect("it has ['RWE']", layout=LAYOUT.replace("FLAGS(5)", "FLAGS(7)"))

    def test_executable_stack(self):
        self.expect("executable stack", layout=LAYOUT.replace("FLAGS(6)", "FLAGS(7)"))

    def test_too_large(self):
        fits = agent_blob.MAX_BYTES - 4096
        self.assertEqual(agent_blob.check(*self.build(f"const char fill[{fits}] = {{1}};")), [])
        self.expect("are the limit", f"const char fill[{agent_blob.MAX_BYTES}] = {{1}};")

    def test_vector_instructions(self):
        self.expect("f: floating point or vector instruction",
                    "double f(double* x) { return *x * 3; }", without=["-mgeneral-regs-only"])
        self.expect("f: floating point or vector instruction",
                    "void f(void) { __asm__ volatile(\"vpxor %ymm1,%ymm1,%ymm1\"); }")

    def test_x87_instructions(self):
        self.expect("f: floating point or vector instruction: fld1",
                    "void f(void) { __asm__ volatile(\"fld1\"); }")

    def test_saving_the_state_is_allowed(self):
        self.assertEqual(agent_blob.check(*self.build(
            "void f(char* to) { __asm__ volatile(\"fxsave (%0)\\n xsave (%0)\" : : \"r\"(to)); }")), [])


if __name__ == "__main__":
    sys.exit(unittest.main())
