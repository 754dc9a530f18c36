# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Compiles lathe.h in every way it may be included, with one compiler, every warning an error.

    headers.py --language c --include DIR [--cuda-include DIR] COMPILER...
"""
import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tap  # noqa: E402

INCLUDE = '#include <lathe/lathe.h>\n'
IMPLEMENT = '#define LATHE_IMPLEMENTATION\n'
USE = 'int lathe_test_use(void);\nint lathe_test_use(void) { return lathe_version(); }\n'

# what is included, and what comes out
CASES = {
    'declarations': INCLUDE,
    'declarations twice': INCLUDE + INCLUDE,
    'implementation': IMPLEMENT + INCLUDE,
    'implementation, then declarations': IMPLEMENT + INCLUDE + '#undef LATHE_IMPLEMENTATION\n' + INCLUDE,
    'declarations, then implementation': INCLUDE + IMPLEMENT + INCLUDE,
    'static implementation': '#define LATHE_STATIC\n' + IMPLEMENT + INCLUDE + USE,
    'renamed declarations': '#define LATHE_NAMESPACE acme_\n' + INCLUDE + USE,
    'renamed implementation': '#define LATHE_NAMESPACE acme_\n' + IMPLEMENT + INCLUDE,
    'after the headers of libc': '#include <math.h>\n#include <pthread.h>\n#include <stdio.h>\n'
                                 '#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n'
                                 + IMPLEMENT + INCLUDE,
}
CUDA_CASES = {
    'declarations before cuda.h': INCLUDE + '#include <cuda.h>\n',
    'declarations after cuda.h': '#include <cuda.h>\n' + INCLUDE,
    'implementation before cuda.h': IMPLEMENT + INCLUDE + '#include <cuda.h>\n',
    'implementation after cuda.h': '#include <cuda.h>\n' + IMPLEMENT + INCLUDE,
    'a CUstream and a CUcontext are ours':
        '#include <cuda.h>\n' + INCLUDE +
        'lathe_stream lathe_test_stream(CUstream stream);\n'
        'lathe_stream lathe_test_stream(CUstream stream) { return stream; }\n'
        'CUcontext lathe_test_context(lathe_cuda_context context);\n'
        'CUcontext lathe_test_context(lathe_cuda_context context) { return context; }\n',
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--include', action='append', default=[], help='where lathe/ is')
    parser.add_argument('--cuda-include', default='', help='where cuda.h is; empty: nowhere')
    parser.add_argument('--with-cuda', action='append', default=[], type=Path,
                        help='a source file that includes CUDA headers itself')
    parser.add_argument('--language', choices=['c', 'c++'], required=True)
    parser.add_argument('compiler', nargs='+')
    args = parser.parse_args()

    language = ['-std=c11', '-x', 'c'] if args.language == 'c' else ['-std=c++17', '-x', 'c++']
    flags = ['-O1', '-Wall', '-Wextra', '-Wpedantic', '-Werror']
    # nobody's environment brings CUDA in behind our back
    environment = {name: value for name, value in os.environ.items()
                   if name not in ('CPATH', 'C_INCLUDE_PATH', 'CPLUS_INCLUDE_PATH')}

    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / 'source', Path(folder) / 'object.o'

        def compile_one(name, text, *extra, whole=False):
            source.write_text(text)
            command = [*args.compiler, *language, *flags, *(f'-I{d}' for d in args.include), *extra,
                       *(('-c', '-o', output) if whole else ('-fsyntax-only',)), source]
            return tap.run(name, command, env=environment)

        # What only a whole compilation finds to warn of is found below, and in what is static here.
        for name, text in CASES.items():
            compile_one(name, text, whole='static' in name)

        # a program shares its one space of names with whatever else is in it
        for prefix, start in {'lathe_': '', 'acme_lathe_': '#define LATHE_NAMESPACE acme_\n'}.items():
            if not shutil.which('nm'):
                tap.skip(f'symbols begin with {prefix}', 'nm not found')
            elif compile_one(f'compiles as {prefix}', start + IMPLEMENT + INCLUDE, whole=True) is not None:
                symbols = tap.run('symbols can be listed', ['nm', '-g', '-P', output]) or ''
                symbols = [line.split()[:2] for line in symbols.splitlines()]
                defined = [name for name, kind in symbols if kind in 'TDBRC']
                foreign = [name for name in defined if not name.startswith(prefix)]
                tap.check(defined and not foreign, f'symbols begin with {prefix}', ' '.join(foreign))
                cuda = [name for name, kind in symbols if name.startswith(('cu', 'nvrtc'))]
                tap.check(not cuda, 'nothing of CUDA is referred to', ' '.join(cuda))

        # what the implementation includes: libc, itself, and nothing of CUDA
        source.write_text(IMPLEMENT + INCLUDE)
        listing = tap.run('includes can be listed',
                          [*args.compiler, *language, *(f'-I{d}' for d in args.include), '-M', source],
                          env=environment)
        cuda = [word for word in (listing or '').split()
                if Path(word).name.startswith(('cu', 'nv', 'driver_types', 'vector_types'))]
        tap.check(listing and not cuda, 'no CUDA header is included', ' '.join(cuda))

        cases = {**CUDA_CASES, **{path.stem: path.read_text() for path in args.with_cuda}}
        for name, text in cases.items():
            if args.cuda_include:
                compile_one(name, text, '-isystem', args.cuda_include)
            else:
                tap.skip(name, 'cuda.h not found')
    tap.done()


if __name__ == '__main__':
    main()
