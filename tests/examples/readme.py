# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Compiles and runs the C programs of README.md, as strictly as everything else.

    readme.py README --include DIR... COMPILER...
"""
import argparse
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tap  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('readme', type=Path)
    parser.add_argument('--include', action='append', default=[])
    parser.add_argument('compiler', nargs='+')
    args = parser.parse_args()

    programs = re.findall(r'^```c\n(.*?)^```$', args.readme.read_text(), re.S | re.M)
    tap.check(programs, 'it has a program')
    flags = ['-std=c11', '-Wall', '-Wextra', '-Wpedantic', '-Werror']
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / 'readme.c', Path(folder) / 'readme'
        for text in programs:
            source.write_text(text)
            command = [*args.compiler, *flags, source, *(f'-I{d}' for d in args.include),
                       '-ldl', '-lpthread', '-lm', '-o', program]
            if tap.run('compiles', command) is not None:
                tap.run('runs', [program])
    tap.done()


if __name__ == '__main__':
    main()
