# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Compiles lathe_kernels.cuh as users may, and looks into the result: which kernels have their body for which
architecture, that programs link and find their table, that two copies go into one program.

    nvcc.py --nvcc NVCC --cc CC... --include DIR --generated DIR
"""
import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / 'budget'), str(ROOT / 'codegen')]
sys.dont_write_bytecode = True
import elf  # noqa: E402
import schema  # noqa: E402
import tap  # noqa: E402
import tile  # noqa: E402

# One shape and one row tile, which are three portable variants, one for each amount of shared memory; an append
# and a join, whose arguments are others; and Hopper's, whose bodies only its own passes may have, sm90a's only that of the "a" target.
SHORT_LIST = '''
[[family]]
op = "decode"
arch = "sm80"
q = "f16"
kv = "f16"
out = "f16"
[[family]]
op = "decode"
arch = "sm90"
q = "f16"
kv = "f16"
out = "f16"
[[family]]
op = "decode"
arch = "sm90a"
q = "f16"
kv = "f16"
out = "f16"
[[family]]
op = "merge"
arch = "sm80"
out = "f16"
[[family]]
op = "schedule"
arch = "sm80"
[[family]]
op = "append"
arch = "sm80"
q = "f16"
kv = "e4m3"
out = "f16"
[[family]]
op = "join"
arch = "sm80"
q = "f32"
out = "f16"
[[variant]]
families = ["append_sm80_f16_e4m3"]
l = 512
r = 64
why = "a test"
[[variant]]
families = ["join_sm80_f32_of16"]
l = 512
why = "a test"
[[variant]]
families = ["decode_sm90_f16_f16"]
l = 512
r = 64
rows = [16]
why = "a test"
[[variant]]
families = ["decode_sm90a_f16_f16"]
l = 512
r = 64
rows = [64]
why = "a test"
[[variant]]
families = ["decode_sm80_f16_f16"]
l = 512
r = 64
rows = [16]
why = "a test"
[[variant]]
families = ["merge_sm80_f16"]
l = 512
why = "a test"
[[variant]]
families = ["schedule_sm80"]
tokens = [32, 64]
why = "a test"
'''
KERNELS = '#include <lathe/lathe_kernels.cuh>\n'
MAIN = '''#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>
int main(void) {
  lathe_context_desc desc = {.backend = LATHE_BACKEND_CPU, .kernels = lathe_kernels()};
  lathe_context *context;
  for (size_t i = 0; i < desc.kernels->num_images; i++) {
    const lathe_kernel_image *image = &desc.kernels->images[i];
    if (image->kind != LATHE_IMAGE_SYMBOL || !image->data)
      return 1;
    puts(image->variant);
  }
  if (desc.kernels->version != LATHE_VERSION || !desc.kernels->get_function)
    return 2;
  if (lathe_context_create(&desc, &context))
    return 3;
  lathe_context_destroy(context);
  return 0;
}
'''
COPY = '''#define LATHE_NAMESPACE %s_
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>
size_t %s_count(void);
size_t %s_count(void) { return lathe_kernels()->num_images + 0 * (size_t)lathe_version(); }
'''
BOTH = '''#include <stddef.h>
size_t one_count(void);
size_t two_count(void);
int main(void) { return one_count() == %d && two_count() == %d ? 0 : 1; }
'''


def serves(arch, specific, archs):
    """Devices, as 10 * major + minor, that may run what is compiled for `arch` of a command line's `archs`."""
    if arch < 80:
        return []
    if specific:
        return [arch]
    return [d for d in tile.SHARED_LIMIT
            if arch <= d and not any(arch < a <= d and a // 10 == d // 10 for a in archs)]


class Compiler:
    def __init__(self, args, work):
        self.work = work
        self.nvcc = [args.nvcc, '-std=c++17', '-Werror', 'all-warnings', f'-I{args.include}', f'-I{work}/include',
                     '-Xcompiler', '-Wall,-Wextra,-Werror']
        self.cc = [*args.cc, '-std=c11', '-Wall', '-Wextra', '-Wpedantic', '-Werror', f'-I{args.include}',
                   f'-I{args.generated}']

    def kernels(self, name, *flags):
        """Compiles the .cu; the folder with object and cubins, None if that failed."""
        folder = self.work / re.sub(r'\W+', '_', name)
        folder.mkdir()
        source = folder / 'kernels.cu'
        source.write_text(KERNELS)
        output = tap.run(f'{name}: compiles without a warning',
                         [*self.nvcc, *flags, '-keep', '-keep-dir', folder, '-c', source, '-o', folder / 'kernels.o'])
        return None if output is None else folder

    def c(self, folder, **sources):
        for name, text in sources.items():
            (folder / f'{name}.c').write_text(text)
            command = [*self.cc, '-c', folder / f'{name}.c', '-o', folder / f'{name}.o']
            if tap.run(f'{name}.c compiles', command) is None:
                return False
        return True

    def link(self, folder, name, *flags, objects=()):
        objects = [*sorted(folder.glob('*.o')), *objects]
        command = [self.nvcc[0], *flags, *objects, '-o', folder / 'program', '-ldl', '-lpthread', '-lm']
        if tap.run(f'{name}: links', command) is None:
            return None
        return tap.run(f'{name}: runs', [folder / 'program'])


def passes(folder):
    """(architecture, "a" target?) to kernels, of every cubin that nvcc kept."""
    found = {}
    for path in folder.glob('*.cubin'):
        arch, suffix = re.findall(r'(?:sm|compute)_(\d+)([af]?)', path.name)[-1]
        kernels = elf.kernels(path.read_bytes())
        found[int(arch), suffix == 'a'] = {k: r for k, r in kernels.items() if k.startswith('lathe_')}
    return found


def bodies(folder, name, catalog):
    """Every pass has the bodies of the devices it serves, and marks of absence for the rest."""
    found = passes(folder)
    tap.check(found, f'{name}: nvcc made machine code')
    everything = {f'lathe_{v.name}' for v in catalog.variants(tile.SHARED_LIMIT)}
    for (arch, specific), kernels in sorted(found.items()):
        devices = serves(arch, specific, [a for a, _ in found])
        policies = {'sm80'} if arch != 90 else {'sm80', 'sm90', 'sm90a'} if specific else {'sm80', 'sm90'}
        wanted = {f'lathe_{v.name}' for v in catalog.variants(devices) if devices and v.family.arch in policies}
        real = {kernel for kernel, r in kernels.items() if r.shared > 0}
        tap.check(set(kernels) == everything and real == wanted,
                  f'{name}: sm_{arch}{"a" * specific} has {len(wanted)} of {len(everything)} kernels, the rest '
                  'without shared memory', f'has {sorted(real)}\nwants {sorted(wanted)}\nknows {sorted(kernels)}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--nvcc', required=True)
    parser.add_argument('--cc', nargs='+', default=['cc'])
    parser.add_argument('--include', required=True, help='where lathe/lathe.h is')
    parser.add_argument('--generated', required=True, help='where lathe/generated/sources.h is')
    args = parser.parse_args()
    catalog = schema.parse(SHORT_LIST)
    names = [v.name for v in catalog.variants(tile.SHARED_LIMIT)]
    with tempfile.TemporaryDirectory(prefix='lathe-nvcc-') as folder:
        work = Path(folder)
        (work / 'short.toml').write_text(SHORT_LIST)
        generate = [sys.executable, '-B', ROOT / 'codegen/generate.py', work / 'short.toml']
        if tap.run('a short list is generated', [*generate, '--out', work / 'include']) is None:
            tap.done()
        compiler = Compiler(args, work)

        flags = {'-arch=sm_80': ['-arch=sm_80'], '-arch=sm_90': ['-arch=sm_90'], '-arch=sm_90a': ['-arch=sm_90a'],
                 '-arch=all-major': ['-arch=all-major', '-Wno-deprecated-gpu-targets'],
                 'sm_80 and sm_90a': ['-gencode=arch=compute_80,code=[sm_80,compute_80]',
                                      '-gencode=arch=compute_90a,code=sm_90a'],
                 '-rdc=true': ['-arch=sm_80', '-rdc=true'], '-use_fast_math': ['-arch=sm_80', '-use_fast_math']}
        compiler.c(work, main=MAIN)
        for name, options in flags.items():
            built = compiler.kernels(name, *options)
            if not built:
                continue
            bodies(built, name, catalog)
            link = [o for o in options if o != '-use_fast_math']
            output = compiler.link(built, name, *link, objects=[work / 'main.o'])
            tap.check(output is not None and output.split() == names, f'{name}: its table names every kernel', output)

        # some kernels only
        folder = compiler.kernels('a shape only', '-arch=sm_90a', '-DLATHE_KERNELS_ONLY',
                                  '-DLATHE_KERNELS_decode_sm80_f16_f16_l512r0=1', '-DLATHE_KERNELS_merge_sm80_f16_l512=1',
                                  '-DLATHE_KERNELS_schedule_sm80=1')
        if folder:
            output = compiler.link(folder, 'a shape only', '-arch=sm_90a', objects=[work / 'main.o'])
            tap.check(output and output.split() == ['merge_sm80_f16_l512', 'schedule_sm80_t32', 'schedule_sm80_t64'],
                      'a shape only: the table has no other', output)

        # two copies, with the device code linked too: every symbol of either kind that is there twice shows
        both = work / 'both'
        both.mkdir()
        for name in ('one', 'two'):
            built = compiler.kernels(f'copy {name}', '-arch=sm_90a', '-rdc=true', f'-DLATHE_NAMESPACE={name}_')
            if built:
                (built / 'kernels.o').rename(both / f'{name}_kernels.o')
        copies = {name: COPY % (name, name, name) for name in ('one', 'two')}
        if compiler.c(both, main=BOTH % (len(names), len(names)), **copies):
            compiler.link(both, 'two copies', '-arch=sm_90a', '-rdc=true')
            output = subprocess.run(['nm', both / 'program'], text=True, stdout=subprocess.PIPE).stdout
            symbols = {line.split()[-1] for line in output.splitlines()}
            bare = [symbol for symbol in symbols if symbol.startswith('lathe_')]
            tap.check({'one_lathe_kernels', 'two_lathe_kernels'} <= symbols and not bare,
                      'two copies: every public symbol has its prefix', bare)
    tap.done()


if __name__ == '__main__':
    main()
