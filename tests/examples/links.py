# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Programs with Lathe in them start on a machine that has nothing of CUDA: no shared library of it is
named, not even one that is missing.

    links.py PROGRAM...
"""
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tap  # noqa: E402

CUDA = ('libcu', 'libnv')


def main():
    if not shutil.which('ldd'):
        tap.skip_all('ldd not found')
    for program in sys.argv[1:]:
        output = subprocess.run(['ldd', program], stdout=subprocess.PIPE, text=True).stdout
        named = [line for line in output.splitlines() if line.split()[0].startswith(CUDA)]
        tap.check(output and not named, f'{Path(program).name} names no CUDA library',
                  '\n'.join(named))
    tap.done()


if __name__ == '__main__':
    main()
