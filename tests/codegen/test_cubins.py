# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""lathe_cubins.h holds what NVRTC made, in one C file of any program, and NVRTC's errors point into templates/.

    test_cubins.py NVRTC INCLUDE CC...      libnvrtc.so, where lathe/lathe.h is, a C compiler
"""
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / 'budget'), str(ROOT / 'codegen')]
sys.dont_write_bytecode = True
import cubins  # noqa: E402
import elf  # noqa: E402
import render  # noqa: E402
import schema  # noqa: E402
import tap  # noqa: E402
import tile  # noqa: E402

SHORT_LIST = '''
[[family]]
op = "decode"
arch = "sm80"
q = "bf16"
kv = "e4m3"
out = "bf16"
[[family]]
op = "decode"
arch = "sm90a"
q = "bf16"
kv = "bf16"
out = "bf16"
[[family]]
op = "merge"
arch = "sm80"
out = "bf16"
[[family]]
op = "schedule"
arch = "sm80"
[[variant]]
families = ["decode_sm90a_bf16_bf16"]
l = 128
r = 32
rows = [64]
why = "a test"
[[variant]]
families = ["decode_sm80_bf16_e4m3"]
l = 128
r = 32
rows = [16]
why = "a test"
[[variant]]
families = ["merge_sm80_bf16"]
l = 128
ptx = true
why = "a test"
[[variant]]
families = ["schedule_sm80"]
tokens = [32, 64]
ptx = true
why = "a test"
'''
SHOW = '''#include <lathe/lathe_cubins.h>
#include <stdio.h>
int main(void) {
  const lathe_kernel_table *table = lathe_cubins();
  for (size_t i = 0; i < table->num_images; i++) {
    const lathe_kernel_image *image = &table->images[i];
    const unsigned char *data = (const unsigned char *)image->data;
    printf("%s %d %d %d ", image->variant, (int)image->kind, image->arch, image->arch_specific);
    for (size_t j = 0; j < image->size; j++)
      printf("%02x", data[j]);
    printf("\\n");
  }
  return table->version != LATHE_VERSION || table->get_function;
}
'''
CUBIN, PTX = 1, 2  # lathe_image_kind


def table(work, compiler, include, nvrtc_path):
    (work / 'short.toml').write_text(SHORT_LIST)
    generate = [sys.executable, '-B', ROOT / 'codegen/generate.py', work / 'short.toml', '--out', work, '--cubins',
                '--nvrtc', nvrtc_path, '--archs', 'sm_80,sm_90a,compute_80']
    if tap.run('lathe_cubins.h is made', generate) is None:
        return
    tap.run('made again, it is the same', [*generate, '--check'])
    (work / 'show.c').write_text(SHOW)
    flags = ['-Wall', '-Wextra', '-Wpedantic', '-Werror', f'-I{include}', f'-I{work}', work / 'show.c']
    tap.run('it compiles as C++17', [*compiler, '-x', 'c++', '-std=c++17', *flags, '-c', '-o', work / 'show.o'])
    if tap.run('it compiles as C11', [*compiler, '-std=c11', *flags, '-o', work / 'show']) is None:
        return
    output = subprocess.run([work / 'show'], text=True, stdout=subprocess.PIPE)
    tap.check(output.returncode == 0, 'the table is of this version')
    catalog = schema.parse(SHORT_LIST)
    wanted = [(v.name, CUBIN, arch, specific) for arch, specific in ((80, 0), (90, 1))
              for v in catalog.variants([arch])]
    wanted += [(v.name, PTX, 80, 0) for v in catalog.variants(tile.SHARED_LIMIT, ptx=True)]
    rows = [line.split() for line in output.stdout.splitlines()]
    got = [(name, int(kind), int(arch), int(specific)) for name, kind, arch, specific, _ in rows]
    tap.check(got == wanted, f'it has {len(wanted)} images: cubins of each architecture, PTX of rows with ptx',
              f'has {got}\nwants {wanted}')
    for name, kind, arch, _, data in rows:
        data = bytes.fromhex(data)
        if int(kind) == CUBIN:
            kernels = elf.kernels(data)
            ok = list(kernels) == [f'lathe_{name}'] and kernels[f'lathe_{name}'].shared > 0
        else:
            ok = data.endswith(b'\0') and f'.entry lathe_{name}('.encode() in data and b'.target sm_80' in data
        tap.check(ok, f'{name}: the image of sm_{arch} has the kernel')


def targets():
    """Hopper's kernels are machine code of their own target and of no other, and never PTX."""
    catalog = schema.load(ROOT / 'codegen/variants.toml')
    for target, policies in (('sm_80', {'sm80'}), ('sm_90', {'sm80', 'sm90'}), ('sm_90a', {'sm80', 'sm90', 'sm90a'}),
                             ('sm_100', {'sm80'}), ('sm_120', {'sm80'}), ('compute_80', {'sm80'})):
        got = {v.family.arch for v, _ in cubins.jobs(catalog, [target])}
        tap.check(got == policies, f'{target}: kernels of {", ".join(sorted(policies))}', got)


def errors(nvrtc, arch, kv, target, spoilt):
    """Each template and part, spoilt at one line, is named with that line."""
    family = schema.Family('decode', arch, 'bf16', kv, 'bf16')
    variant = schema.Variant(family, 512, 64, family.tile(512, 64, 16, 232448))
    lines = (render.params(variant) + render.body(family)).splitlines()
    file, number = None, 0
    for i, line in enumerate(lines):
        match = render.LINE.match(line)
        if match:
            file, number = match[2], int(match[1])
            continue
        if line.startswith(('constexpr ', 'struct ')) and file not in spoilt:
            spoilt.add(file)
            source = '\n'.join(lines[:i] + [f'spoilt {line}'] + lines[i + 1:]) + '\n'
            try:
                nvrtc.compile(variant.name, source, target)
                message = 'it compiled'
            except cubins.CompileError as error:
                message = str(error)
            tap.check(f'{file}({number})' in message, f'NVRTC names {file}, line {number}', message)
        if file:
            number += 1


def main():
    nvrtc_path, include, *compiler = sys.argv[1:]
    try:
        nvrtc = cubins.Nvrtc(nvrtc_path)
    except cubins.CompileError as error:
        tap.skip_all(str(error))
    with tempfile.TemporaryDirectory(prefix='lathe-cubins-') as folder:
        table(Path(folder), compiler or ['cc'], include, nvrtc_path)
    targets()
    spoilt = set()
    for arch, kv, target in (('sm80', 'e4m3', 'sm_80'), ('sm90', 'bf16', 'sm_90a'), ('sm90a', 'bf16', 'sm_90a')):
        errors(nvrtc, arch, kv, target, spoilt)
    tap.check(len(spoilt) >= 6, f'{len(spoilt)} files were tried')
    tap.done()


if __name__ == '__main__':
    main()
