#!/usr/bin/python3
"""Checks that the agent can be what it has to be: bytes that run at any address inside any process
and touch nothing of it.

usage: agent_blob.py ELF OBJECT...     ELF: the linked agent; OBJECT: all that it was linked from
Prints every offence; status 1 if there is one.

The objects tell what linking hides: absolute addresses and weak symbols are resolved without a
trace, and constants next to the code would be taken for instructions.
"""

import re
import subprocess
import sys
from typing import Iterator, NamedTuple

MAX_BYTES = 32 * 1024
# Relocations that mean a distance, the same wherever the blob stands. A GOT has its own check.
RELATIVE = re.compile(r"R_X86_64_(NONE|PC(8|16|32|64)|PLT32|(REX_)?GOTPCRELX?|SIZE(32|64))$")
VECTOR_REGISTER = re.compile(r"%(?:[xyz]mm\d|mm\d|st\b|k[0-7]\b|tmm\d)")
# Every x87 instruction begins with f (fld1 names no register); saving and restoring the whole state
# at somebody's order does too, and is not a use of it.
X87 = re.compile(r"^(?:(?!fs$|fxsave|fxrstor)f\w+|emms|vzero\w+)$")
THREAD_POINTER = re.compile(r"%[fg]s:")
CODE_BEFORE_MAIN = re.compile(r"\.(preinit_array|init_array|fini_array|ctors|dtors|init|fini)\b")


class Section(NamedTuple):
    name: str
    kind: str
    size: int
    flags: str


class Segment(NamedTuple):
    kind: str
    bytes: int
    flags: str


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True,
                          env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}).stdout


def sections(elf: str) -> list[Section]:
    row = re.compile(r"^ +\[ *\d+\] (\S*) +([A-Z]\w*) +[0-9a-f]{16} [0-9a-f]+ ([0-9a-f]+) "
                     r"[0-9a-f]+ +([A-Zxopl]*) +\d+ +\d+ +\d+$", re.MULTILINE)
    return [Section(name, kind, int(size, 16), flags)
            for name, kind, size, flags in row.findall(run("readelf", "-SW", elf))]


def segments(elf: str) -> list[Segment]:
    row = re.compile(r"^ +([A-Z]\w*) +0x[0-9a-f]+ 0x[0-9a-f]+ 0x[0-9a-f]+ 0x[0-9a-f]+ "
                     r"0x([0-9a-f]+) ([RWE ]{3}) 0x", re.MULTILINE)
    return [Segment(kind, int(size, 16), flags.replace(" ", ""))
            for kind, size, flags in row.findall(run("readelf", "-lW", elf))]


def check_segments(elf: str) -> Iterator[str]:
    found = segments(elf)
    loads = [segment for segment in found if segment.kind == "LOAD"]
    if len(loads) != 1 or loads[0].flags != "RE":
        flags = [segment.flags for segment in loads]
        yield f"exactly one PT_LOAD, readable and executable, is expected; it has {flags}"
    if (size := sum(segment.bytes for segment in loads)) > MAX_BYTES:
        yield f"size: {size} bytes are loaded, {MAX_BYTES} are the limit"
    for segment in found:
        if segment.kind in {"DYNAMIC", "INTERP", "TLS", "GNU_RELRO"}:
            yield f"segment PT_{segment.kind} needs a loader that the agent does not have"
        if segment.kind == "GNU_STACK" and "E" in segment.flags:
            yield "segment PT_GNU_STACK asks for an executable stack"


def check_sections(elf: str) -> Iterator[str]:
    for section in sections(elf):
        if section.size == 0:
            continue
        where = f"section {section.name} ({section.size} bytes)"
        if "T" in section.flags:
            yield f"{where}: thread-local variables"
        elif CODE_BEFORE_MAIN.match(section.name):
            yield f"{where}: nobody runs constructors or destructors"
        elif "A" in section.flags and "W" in section.flags:
            yield f"{where}: writable globals"
        if section.kind in {"REL", "RELA", "RELR"}:
            yield f"{where}: relocations that nobody applies"
        if section.kind == "DYNAMIC":
            yield f"{where}: a dynamic section"


def symbols(*names: str, only: str) -> set[str]:
    rows = re.compile(r"^.* [A-Za-z] (\S+)$", re.MULTILINE)
    return set(rows.findall(run("nm", only, *names)))


def check_symbols(elf: str, objects: list[str]) -> Iterator[str]:
    """Asks the objects: a weak symbol that nobody defines leaves no trace in the linked file."""
    defined = symbols(elf, only="--defined-only")
    wanted = symbols(elf, only="--undefined-only") | symbols(*objects, only="--undefined-only")
    for name in sorted(wanted - defined):
        yield f"undefined symbol {name}"


def check_relocations(elf: str) -> Iterator[str]:
    """Of an object: those of the sections that are loaded."""
    loaded = {section.name for section in sections(elf) if "A" in section.flags}
    target = ""
    for line in run("readelf", "-rW", elf).splitlines():
        if heading := re.match(r"Relocation section '\.rela?(\S+)'", line):
            target = heading[1]
        elif entry := re.match(r"[0-9a-f]{16} +[0-9a-f]{16} (R_X86_64_\w+) +(.*)", line):
            if target in loaded and not RELATIVE.match(entry[1]):
                yield f"{target}: absolute address ({entry[1]}): {entry[2].strip()}"


def check_instructions(elf: str) -> Iterator[str]:
    """Of an object."""
    function = "?"
    for line in run("objdump", "-d", "--no-show-raw-insn", elf).splitlines():
        if label := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            function = label[1]
        elif instruction := re.match(r" *[0-9a-f]+:\t(.*)", line):
            text = re.sub(r"#.*|<.*", "", instruction[1]).strip()
            words = re.sub(r"^((lock|rep\w*|notrack|bnd|data16|rex\S*) +)*", "", text).split()
            if VECTOR_REGISTER.search(text) or (words and X87.match(words[0])):
                yield f"{function}: floating point or vector instruction: {text}"
            if THREAD_POINTER.search(text):
                yield f"{function}: the program's thread-local storage: {text}"


def check(elf: str, objects: list[str]) -> list[str]:
    offences = [f"{elf}: {offence}" for offence in check_symbols(elf, objects)]
    for part in (check_segments, check_sections):
        offences += [f"{elf}: {offence}" for offence in part(elf)]
    for name in objects:
        for part in (check_relocations, check_instructions):
            offences += [f"{name}: {offence}" for offence in part(name)]
    return offences


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    offences = check(sys.argv[1], sys.argv[2:])
    print("\n".join(offences) or "agent: clean")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
