#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Writes the library as one file, lathe.h, with the implementation and the kernels' source in it.

  amalgamate.py --out FILE                        needs nothing built before
  amalgamate.py --out FILE --with-cubins HEADER   lathe_cubins.h too, compiled where LATHE_CUBINS is defined

Use it like the installed header: LATHE_IMPLEMENTATION in one file, no other include path.
"""

import argparse
import re
import sys
from pathlib import Path

import generate
import render
import schema

INCLUDE = render.ROOT / "include"
QUOTED = re.compile(r'\s*#\s*include\s*(?:"([^"]+)"|<(lathe/[^>]+)>)')


class AmalgamateError(Exception):
    pass


class Tree:
    """Puts files in the place of their includes. `generated` has the texts that are in no folder."""

    def __init__(self, generated):
        self.generated = {INCLUDE / "lathe" / "generated" / name: text for name, text in generated.items()}
        self.included = {}

    def _find(self, name, quoted, path, number):
        for folder in (path.parent, INCLUDE) if quoted else (INCLUDE,):
            found = Path((folder / name).resolve())
            if found in self.generated or found.is_file():
                return found
        raise AmalgamateError(f"{self._name(path)}:{number}: {name} is in no folder of the tree")

    @staticmethod
    def _name(path):
        return path.relative_to(INCLUDE).as_posix()

    def expand(self, path, line_of=None):
        if path in self.included:
            raise AmalgamateError(f"{self._name(path)} is included twice, by {self.included[path] or 'nobody'} and "
                                  f"{line_of}; a file of the implementation is included once")
        self.included[path] = line_of
        text = self.generated.get(path) or path.read_text(encoding="utf-8")
        lines, in_comment = [], False
        for number, line in enumerate(text.splitlines(), 1):
            match = None if in_comment else QUOTED.match(line)
            if "/*" in line or "*/" in line:
                in_comment = line.rfind("/*") > line.rfind("*/")
            if not match:
                lines.append(line)
                continue
            found = self._find(match[1] or match[2], bool(match[1]), path, number)
            lines.append(f"/* {self._name(found)} */")
            lines += self.expand(found, f"{self._name(path)}:{number}")
        return lines


def amalgamate(catalog, cubins=None):
    tree = Tree(generate.generated(catalog))
    lines = tree.expand(INCLUDE / "lathe" / "lathe.h")
    lines.insert(2, "// Made by codegen/amalgamate.py from Lathe's include/ and templates/: do not edit.")
    if cubins:
        lines += ["", "#ifdef LATHE_CUBINS"]
        lines += [line for line in cubins.splitlines() if not QUOTED.match(line)]
        lines += ["#endif"]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--with-cubins", type=Path, metavar="HEADER", help="a lathe_cubins.h to embed")
    parser.add_argument("--check", action="store_true", help="compare instead of writing; end 1 with a diff")
    options = parser.parse_args()
    try:
        catalog = schema.load(Path(__file__).with_name("variants.toml"))
        cubins = options.with_cubins and options.with_cubins.read_text(encoding="utf-8")
        return generate.put({options.out: amalgamate(catalog, cubins)}, options.check)
    except (schema.SchemaError, AmalgamateError, OSError) as error:
        print(f"amalgamate.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
