# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""amalgamate.py writes one file that needs no other, and refuses a tree that is not one.

    test_amalgamate.py CC...     a C compiler
"""
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(ROOT / 'codegen')]
sys.dont_write_bytecode = True
import amalgamate  # noqa: E402
import tap  # noqa: E402

FLAGS = ['-std=c11', '-O1', '-Wall', '-Wextra', '-Wpedantic', '-Werror']
USER = '''#include "lathe.h"
#include <stdio.h>
int main(void) {
  lathe_context_desc desc = {.backend = LATHE_BACKEND_CPU};
  lathe_context *context;
  if (lathe_version() != LATHE_VERSION || lathe_context_create(&desc, &context)) {
    fprintf(stderr, "%s\\n", lathe_last_error()->message);
    return 1;
  }
  lathe_context_destroy(context);
  return 0;
}
'''
CUBINS = '''// a stand-in
#ifndef LATHE_CUBINS_H
#define LATHE_CUBINS_H
#include <lathe/lathe.h>
const lathe_kernel_table *lathe_cubins(void) {
  static const lathe_kernel_table table = {LATHE_VERSION, 0, 0, 0};
  return &table;
}
#endif
'''


def run(*args):
    return subprocess.run([sys.executable, '-B', ROOT / 'codegen/amalgamate.py', *map(str, args)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def project(folder, compiler, files, name):
    for file, text in files.items():
        (folder / file).write_text(text)
    command = [*compiler, *FLAGS, *(folder / f for f in files), '-ldl', '-lpthread', '-lm', '-o', folder / 'program']
    if tap.run(f'{name}: compiles', command) is not None:
        tap.run(f'{name}: runs', [folder / 'program'])


def trees(work):
    """Includes of a made-up tree: what is put where, and what is refused."""
    folder = work / 'include'
    (folder / 'lathe/impl').mkdir(parents=True)
    amalgamate.INCLUDE = folder

    def expand(generated=None, **files):
        for name, text in files.items():
            (folder / 'lathe/impl' / f'{name}.h').write_text(text)
        try:
            return '\n'.join(amalgamate.Tree(generated or {}).expand(folder / 'lathe/impl/a.h'))
        except amalgamate.AmalgamateError as error:
            return f'refused: {error}'

    got = expand(a='1\n#include "b.h"\n2', b='3\n#include <stdio.h>\n')
    tap.check(got == '1\n/* lathe/impl/b.h */\n3\n#include <stdio.h>\n2', 'a file stands where it was included', got)
    got = expand({'s.h': 'made\n'}, a='#include <lathe/generated/s.h>\n')
    tap.check(got.endswith('\nmade'), 'a generated file too', got)
    got = expand(a='/* like this:\n   #include "b.h"\n*/\n/* #include "b.h" */\nend')
    tap.check('3' not in got and got.endswith('end'), 'what a comment includes is left', got)
    got = expand(a='#include "b.h"\n#include "c.h"\n', c='#include "b.h"\n')
    tap.check('refused' in got and 'lathe/impl/b.h is included twice' in got and 'lathe/impl/c.h:1' in got,
              'a file included twice is refused, saying by whom', got)
    got = expand(a='#include "a.h"\n')
    tap.check('refused' in got and 'twice' in got, 'a file that includes itself is refused', got)
    got = expand(a='\n#include "nowhere.h"\n')
    tap.check('refused' in got and 'lathe/impl/a.h:2: nowhere.h' in got, 'a file that is not there is refused', got)


def main():
    compiler = sys.argv[1:] or ['cc']
    with tempfile.TemporaryDirectory(prefix='lathe-amalgamate-') as name:
        work = Path(name)
        header = work / 'lathe.h'
        result = run('--out', header)
        if not tap.check(result.returncode == 0, 'it writes', result.stdout):
            tap.done()
        tap.check(run('--out', header, '--check').returncode == 0, '--check finds no difference')
        text = header.read_text()
        tap.check(str(ROOT) not in text, 'no absolute path in it')
        header.write_text(text.replace('LATHE_STATUS_OK = 0', 'LATHE_STATUS_OK = 1', 1))
        result = run('--out', header, '--check')
        tap.check(result.returncode == 1 and 'LATHE_STATUS_OK = 1' in result.stdout, '--check prints a difference',
                  result.stdout[:500])
        header.write_text(text)
        project(work, compiler, {'user.c': USER,
                                 'library.c': '#define LATHE_IMPLEMENTATION\n#include "lathe.h"\n'}, 'two files')

        (work / 'cubins.h').write_text(CUBINS)
        result = run('--out', header, '--with-cubins', work / 'cubins.h')
        tap.check(result.returncode == 0, 'it writes, with cubins', result.stdout)
        with_table = USER.replace('{.backend', '{.kernels = lathe_cubins(), .backend')
        project(work, compiler, {'user.c': with_table, 'library.c': '#define LATHE_IMPLEMENTATION\n'
                                 '#define LATHE_CUBINS\n#include "lathe.h"\n'}, 'two files with cubins')
        trees(work)
    tap.done()


if __name__ == '__main__':
    main()
