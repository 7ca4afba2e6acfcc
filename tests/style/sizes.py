#!/usr/bin/python3
"""Checks that no C or C++ file in src/ has grown too long to hold one idea.

usage: sizes.py [ROOT]     prints every file that is too long; status 1 if there is one
"""

import pathlib
import sys

import cpp_source

MAX_LINES = 400


def check(root: pathlib.Path) -> list[str]:
    files = cpp_source.source_files(root / "src")
    if not files:
        raise SystemExit(f"{root}/src: no source found, so nothing was checked")
    lengths = {path: len(path.read_text().splitlines()) for path in files}
    return [f"{path}:{MAX_LINES + 1}: {length} lines: split it, {MAX_LINES} are the limit"
            for path, length in lengths.items() if length > MAX_LINES]


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])
    offences = check(root)
    print("\n".join(offences) or "sizes: clean")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
