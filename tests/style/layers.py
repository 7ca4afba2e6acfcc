#!/usr/bin/python3
"""Checks that src/ keeps to the tables in ARCHITECTURE.md: who may include whom, what freestanding
code may include, and where raw system calls and assembly may stand.

usage: layers.py [ROOT]     prints file:line of every offence; status 1 if there is one
"""

import fnmatch
import pathlib
import re
import sys
from typing import Iterator, NamedTuple

import cpp_source

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]*)"|(<[^>\n]*>)|(\S+))', re.MULTILINE)
# A member's name (process.syscall) is no raw call; a qualified one (::syscall) is.
RAW = re.compile(
    r"(?<![\w.])(?<!->)(?:(ptrace|syscall|process_vm_readv|process_vm_writev)\s*\("
    r"|(asm|__asm|__asm__)\b(?!/))"  # <asm/...> is a header
)
GENERATED = {"proto"}  # rooms whose headers the build makes: they are not in src/


class Rules(NamedTuple):
    allowed: dict[str, set[str]]
    freestanding: dict[str, list[str]]  # room: patterns of the headers that it may include
    hosted: list[str]                   # patterns of the files in such rooms that are exempt
    raw: set[str]


class Include(NamedTuple):
    line: int
    name: str
    angled: bool


def fenced_block(text: str, label: str) -> list[str]:
    found = re.findall(rf"^```{label}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if len(found) != 1:
        raise SystemExit(f"ARCHITECTURE.md: {len(found)} blocks ```{label} where one is expected")
    return [line for line in found[0].splitlines() if line.strip()]


def table(lines: list[str]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for line in lines:
        room, colon, names = line.partition(":")
        if not colon:
            raise SystemExit(f"ARCHITECTURE.md: a line without a colon: {line}")
        rows.setdefault(room.strip(), []).extend(names.split())
    return rows


def read_rules(root: pathlib.Path) -> Rules:
    text = (root / "ARCHITECTURE.md").read_text()
    allowed = {room: set(names) for room, names in table(fenced_block(text, "layers")).items()}
    freestanding = table(fenced_block(text, "freestanding"))
    hosted = freestanding.pop("except", [])
    raw = {name for line in fenced_block(text, "raw") for name in line.split()}
    rules = Rules(allowed, freestanding, hosted, raw)
    named = set().union(*allowed.values(), rules.freestanding, rules.raw)
    if unknown := named - allowed.keys():
        raise SystemExit(f"ARCHITECTURE.md: rooms without a line of their own: {sorted(unknown)}")
    refuse_cycles(allowed)
    return rules


def refuse_cycles(allowed: dict[str, set[str]]) -> None:
    left = dict(allowed)
    while left:
        ready = [room for room, below in left.items() if not below & left.keys()]
        if not ready:
            raise SystemExit(f"ARCHITECTURE.md: these rooms form a cycle: {sorted(left)}")
        for room in ready:
            del left[room]


def includes(path: pathlib.Path) -> list[Include]:
    text = cpp_source.without_comments(path.read_text())
    return [Include(text.count("\n", 0, found.start(0)) + 1, found[1] or found[2] or found[3] or "",
                    found[1] is None)
            for found in INCLUDE.finditer(text)]


def check_rooms(source: pathlib.Path, path: pathlib.Path, rules: Rules) -> Iterator[str]:
    room = path.relative_to(source).parts[0]
    if room not in rules.allowed:
        yield f"{path}:1: room '{room}' has no line in ARCHITECTURE.md"
        return
    for line, name, angled in includes(path):
        if angled:
            if not name.startswith("<"):
                yield f"{path}:{line}: an include must name its file, not {name}"
            elif name[1:].split("/")[0] in rules.allowed and (source / name[1:-1]).exists():
                yield f"{path}:{line}: write \"{name[1:-1]}\", it is ours"
            continue
        other = name.split("/")[0]
        if "/" not in name or ".." in name:
            yield f"{path}:{line}: write \"room/{name}\": includes are relative to src/"
        elif other not in rules.allowed:
            yield f"{path}:{line}: \"{name}\": there is no room '{other}'"
        elif other != room and other not in rules.allowed[room]:
            yield f"{path}:{line}: {room} may not include {other}: \"{name}\""
        elif other not in GENERATED and not (source / name).exists():
            yield f"{path}:{line}: \"{name}\" does not exist"


def freestanding_closure(source: pathlib.Path, room: str, hosted: list[str]) -> list[pathlib.Path]:
    """The room's files but unit tests and hosted ones, and those of src/ that they come to include."""
    todo = [path for path in cpp_source.source_files(source / room)
            if not cpp_source.is_unit_test(path)
            and not any(path.relative_to(source).match(pattern) for pattern in hosted)]
    seen: list[pathlib.Path] = []
    while todo:
        path = todo.pop()
        if path not in seen and path.exists():
            seen.append(path)
            todo += [source / include.name for include in includes(path) if not include.angled]
    return seen


def check_freestanding(source: pathlib.Path, rules: Rules) -> Iterator[str]:
    for room, patterns in rules.freestanding.items():
        reachable = {room} | rules.allowed[room]
        for path in freestanding_closure(source, room, rules.hosted):
            for line, name, angled in includes(path):
                if angled and not any(fnmatch.fnmatchcase(name, p) for p in patterns):
                    yield f"{path}:{line}: {name} is not for {room}, whose code is freestanding"
                if not angled and name.split("/")[0] not in reachable:
                    yield f"{path}:{line}: \"{name}\" reaches {room}, whose code is freestanding"


def check_raw(source: pathlib.Path, path: pathlib.Path, rules: Rules) -> Iterator[str]:
    room = path.relative_to(source).parts[0]
    if room in rules.raw or cpp_source.is_unit_test(path):
        return
    if path.suffix in {".S", ".s"}:
        yield f"{path}:1: assembly belongs to {sorted(rules.raw)}"
        return
    text = cpp_source.code_only(path.read_text())
    for found in RAW.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield f"{path}:{line}: {found[1] or found[2]} belongs to {sorted(rules.raw)}"


def check(root: pathlib.Path) -> list[str]:
    rules = read_rules(root)
    source = root / "src"
    files = [path for path in cpp_source.source_files(source) if path.parent != source]
    if not files:
        raise SystemExit(f"{source}: no source found, so nothing was checked")
    offences = list(check_freestanding(source, rules))
    for path in files:
        offences += check_rooms(source, path, rules)
        offences += check_raw(source, path, rules)
    return sorted(set(offences))


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])
    offences = check(root)
    print("\n".join(offences) or "layers: clean")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
