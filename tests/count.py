# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Prints "N passed, N failed, N skipped" for the last `meson test` of a build folder.

    python3 tests/count.py BUILD_DIR

Every subtest of a TAP test counts. Exits 1 if anything failed or nothing ran at all. No Python package
and no Python newer than 3.8 is needed.
"""
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

FAILED = {'FAIL', 'ERROR', 'TIMEOUT', 'INTERRUPT', 'UNEXPECTEDPASS'}


def count(logs):
    """(passed, failed, skipped) of the logs in a folder; a run that left none failed as a whole."""
    junit = logs / 'testlog.junit.xml'
    if not junit.is_file():
        return 0, 1, 0
    passed = failed = skipped = 0
    suites_that_failed, suites = set(), set()
    for suite in ElementTree.parse(junit).getroot().iter('testsuite'):
        suites.add(suite.get('name'))
        for case in suite.iter('testcase'):
            if case.find('failure') is not None or case.find('error') is not None:
                failed += 1
                suites_that_failed.add(suite.get('name'))
            elif case.find('skipped') is not None:
                skipped += 1
            else:
                passed += 1
    # A program that dies or hangs after good subtests: junit shows those and not the end of it.
    testlog = logs / 'testlog.json'
    if testlog.is_file():
        for line in testlog.read_text(errors='replace').splitlines():
            test = json.loads(line)
            project, _, name = test['name'].rpartition(' / ')
            names = {s for s in suites if s.endswith('.' + (name or project))}
            if test['result'] in FAILED and names and not names & suites_that_failed:
                failed += 1
    return passed, failed, skipped


def main():
    passed, failed, skipped = count(Path(sys.argv[1]) / 'meson-logs')
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
