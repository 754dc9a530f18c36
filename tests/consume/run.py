# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Builds and runs the consumer projects of this folder, one way of getting hold of Lathe per call.

    run.py WAY --source ROOT --generated DIR --python PYTHON --cc CC [--meson MESON] [--cmake CMAKE]

ROOT is Lathe's source tree, DIR the include folder of a build folder, with the generated headers.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import tap  # noqa: E402

FLAGS = ['-std=c11', '-Wall', '-Wextra', '-Wpedantic', '-Werror']
LIBRARIES = ['-ldl', '-lpthread', '-lm']
# what a release holds beside its generated headers; tests and examples are not wanted by consumers
TREE = ['meson.build', 'meson_options.txt', 'LICENSE', 'README.md', 'CHANGELOG.md', 'include',
        'templates', 'codegen', 'cmake']


def copy_tree(args, to, generated=False):
    """A copy of the source tree, with the generated headers if it is to look like a release."""
    for name in TREE:
        if (args.source / name).is_dir():
            shutil.copytree(args.source / name, to / name)
        else:
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy(args.source / name, to / name)
    if generated:
        copy_headers(args.generated, to / 'include')
    return to


def copy_headers(include, to):
    ignore = shutil.ignore_patterns('meson.build', '*.p', '*.o', 'lathe_cubins.h')
    shutil.copytree(include / 'lathe', to / 'lathe', ignore=ignore, dirs_exist_ok=True)


def project(args, name):
    """A copy of a consumer project, with the program they all build."""
    folder = args.work / name
    shutil.copytree(HERE / name, folder)
    shutil.copy(HERE / 'main.c', folder)
    return folder


def compile_and_run(args, sources, *flags):
    program = args.work / 'consumer'
    command = [*args.cc, *FLAGS, *sources, *flags, *LIBRARIES, '-o', program]
    if tap.run('compiles', command) is not None:
        tap.run('runs', [program])


def vendored(args):
    """The include folders, ours and the generated one, copied into somebody's tree."""
    vendor = args.work / 'vendor'
    copy_headers(args.source / 'include', vendor)
    copy_headers(args.generated, vendor)
    return f'-I{vendor}'


def copied(args):
    compile_and_run(args, [HERE / 'main.c'], vendored(args))


def two_files(args):
    flags = [vendored(args), '-DCONSUME_DECLARATIONS_ONLY']
    compile_and_run(args, [HERE / 'main.c', HERE / 'two_files/lathe.c'], *flags)


def namespaces(args):
    compile_and_run(args, [HERE / 'namespaces/one.c', HERE / 'namespaces/two.c'], vendored(args))


def static(args):
    compile_and_run(args, [HERE / 'static/one.c', HERE / 'static/two.c'], vendored(args))


def single_header(args):
    """One file and one compiler: nothing of this tree is on any path."""
    folder = args.work / 'single'
    (folder / 'lathe').mkdir(parents=True)
    header = folder / 'lathe' / 'lathe.h'
    script = args.source / 'codegen/amalgamate.py'
    if tap.run('amalgamate.py writes it', [args.python, script, '--out', header]) is None:
        return
    text = header.read_text()
    includes = [line for line in text.splitlines() if line.startswith('#include "')]
    tap.check(not includes, 'it includes no file of ours', '\n'.join(includes))
    compile_and_run(args, [HERE / 'main.c'], f'-I{folder}')


def meson_setup(args, build, source, *options):
    command = [*args.meson, 'setup', build, source, *options]
    return tap.run('configures', command) is not None


def meson_build(args, folder, *options):
    build = folder / 'build'
    if meson_setup(args, build, folder, *options):
        if tap.run('builds', [*args.meson, 'compile', '-C', build]) is not None:
            tap.run('runs', [build / 'consumer'])


def meson_subproject(args):
    folder = project(args, 'meson_subproject')
    copy_tree(args, folder / 'subprojects/lathe')
    meson_build(args, folder, f'-Dlathe:python={args.python}')


def release(args):
    """The tree of a release carries its generated headers, and whoever uses it needs no Python."""
    folder = project(args, 'meson_subproject')
    copy_tree(args, folder / 'subprojects/lathe', generated=True)
    meson_build(args, folder, '-Dlathe:python=/nonexistent')
    folder = project(args, 'cmake_fetch')
    tree = copy_tree(args, args.work / 'release', generated=True)
    if args.cmake:
        cmake_build(args, folder, f'-DLATHE_SOURCE={tree}', '-DPython3_EXECUTABLE=/nonexistent')
    else:
        tap.skip('CMake', 'CMake not found')


def install(args):
    """Lathe installed from a copy of its tree; the prefix, or None."""
    tree, prefix = copy_tree(args, args.work / 'tree'), args.work / 'prefix'
    options = [f'--prefix={prefix}', '-Dcubins=disabled', '-Dtests=disabled',
               f'-Dpython={args.python}']
    if not meson_setup(args, args.work / 'build', tree, *options):
        return None
    command = [*args.meson, 'install', '-C', args.work / 'build']
    if tap.run('installs', command) is None:
        return None
    names = {path.name for path in prefix.rglob('*')}
    wanted = {'lathe.h', 'lathe_impl.h', 'sources.h', 'lathe.pc', 'lathe-config.cmake'}
    tap.check(wanted <= names, 'everything is there', f'missing: {wanted - names}')
    tap.check('meson.build' not in names, 'and nothing of the build')
    return prefix


def pkg_config(args):
    program = shutil.which('pkg-config')
    if not program:
        tap.skip_all('pkg-config not found')
    prefix = install(args)
    if not prefix:
        return
    env = dict(os.environ, PKG_CONFIG_PATH=str(prefix / 'share/pkgconfig'))
    output = tap.run('pkg-config knows it', [program, '--cflags', '--libs', 'lathe'], env=env)
    version = subprocess.run([program, '--modversion', 'lathe'], env=env, text=True,
                             stdout=subprocess.PIPE).stdout.strip()
    tap.check(version == args.version, 'and its version', f'{version}, not {args.version}')
    if output:
        program = args.work / 'consumer'
        command = [*args.cc, *FLAGS, HERE / 'main.c', *output.split(), '-o', program]
        if tap.run('compiles', command) is not None:
            tap.run('runs', [program])


def cmake_build(args, folder, *options):
    build = folder / 'build'
    command = [args.cmake, '-S', folder, '-B', build, f'-DCMAKE_C_COMPILER={args.cc[-1]}', *options]
    if tap.run('CMake configures', command) is not None:
        if tap.run('CMake builds', [args.cmake, '--build', build]) is not None:
            tap.run('runs', [build / 'consumer'])


def cmake_package(args):
    prefix = install(args)
    if prefix:
        cmake_build(args, project(args, 'cmake_package'), f'-DCMAKE_PREFIX_PATH={prefix}')


def cmake_fetch(args):
    tree = copy_tree(args, args.work / 'tree')
    cmake_build(args, project(args, 'cmake_fetch'), f'-DLATHE_SOURCE={tree}',
                f'-DPython3_EXECUTABLE={args.python}')


WAYS = {way.__name__: way for way in (copied, two_files, namespaces, static, single_header,
                                      meson_subproject, release, pkg_config, cmake_package,
                                      cmake_fetch)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('way', choices=WAYS)
    parser.add_argument('--source', type=Path, required=True)
    parser.add_argument('--generated', type=Path, required=True)
    parser.add_argument('--version', required=True)
    parser.add_argument('--python', required=True)
    parser.add_argument('--meson', nargs='+', default=['meson'])
    parser.add_argument('--cmake', default=shutil.which('cmake'))
    parser.add_argument('--cc', nargs='+', default=['cc'])
    args = parser.parse_args()

    if args.way.startswith('cmake') and not args.cmake:
        tap.skip_all('CMake not found')
    # The flags of the build around us are not the consumer's.
    for name in ('CFLAGS', 'LDFLAGS', 'CPPFLAGS', 'CC', 'DESTDIR', 'MAKEFLAGS'):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix='lathe-consume-') as work:
        args.work = Path(work)
        WAYS[args.way](args)
    tap.done()


if __name__ == '__main__':
    main()
