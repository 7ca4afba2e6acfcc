"""Reading C and C++ source for the style checks: which files, and what in them is code."""

import pathlib
import re

SUFFIXES = {".h", ".hpp", ".c", ".cc", ".cpp", ".S", ".s", ".inc"}

# A comment, a raw string, a string or a character literal. The quote of a digit separator
# (1'000) does not start a literal.
_NOT_CODE = re.compile(
    r'//(?:\\\n|[^\n])*'
    r'|/\*.*?\*/'
    r'|R"(?P<delimiter>[^\s()\\]{0,16})\(.*?\)(?P=delimiter)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?:\bu8|(?<![0-9A-Fa-f]))'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)


def source_files(directory: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in directory.rglob("*") if p.suffix in SUFFIXES and p.is_file())


def is_unit_test(path: pathlib.Path) -> bool:
    return path.stem.endswith("_test")


def _blank(found: re.Match) -> str:
    return "\n" * found[0].count("\n") or " "


def code_only(text: str) -> str:
    """The text with comments and literals blanked; every line stays at its number."""
    return _NOT_CODE.sub(_blank, text)


def without_comments(text: str) -> str:
    """The same, but strings of the ordinary kind are kept: an include's file name is one."""
    def keep_strings(found: re.Match) -> str:
        return found[0] if found[0].startswith('"') else _blank(found)

    return _NOT_CODE.sub(keep_strings, text)
