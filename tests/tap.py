# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""The Test Anything Protocol, as far as Meson reads it, for the tests written in Python."""
import subprocess
import sys

_count = 0
_failed = 0


def _line(ok, name, directive=''):
    global _count, _failed
    _count += 1
    _failed += not ok
    name = name.replace('#', '').strip()
    print(f'{"ok" if ok else "not ok"} {_count} - {name}{directive}', flush=True)
    return ok


def check(ok, name, why=''):
    """One subtest; `why` is shown if it failed. Returns `ok`."""
    if not ok:
        for line in str(why).splitlines():
            print(f'# {line}', flush=True)
    return _line(bool(ok), name)


def skip(name, reason):
    _line(True, name, f' # SKIP {reason}')


def skip_all(reason):
    """Says that nothing of this program can run here, and ends it."""
    print(f'1..0 # SKIP {reason}')
    sys.exit(0)


def run(name, command, **kwargs):
    """One subtest: the command exits 0. Returns its output, None if it failed."""
    try:
        result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors='replace', **kwargs)
        ok, output = result.returncode == 0, result.stdout
    except OSError as error:
        ok, output = False, str(error)
    check(ok, name, ' '.join(map(str, command)) + '\n' + output)
    return output if ok else None


def done():
    """Writes the plan and ends the program."""
    print(f'1..{_count}')
    sys.exit(1 if _failed else 0)
