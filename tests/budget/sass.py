# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""What Hopper's kernels of DeepSeek's shape are made of, in machine code: the wide kernel multiplies with wgmma
and loads through the copy engine, the few-rows kernel multiplies with mma.sync and loads through the copy engine
or, where pages do not allow that, with cp.async; none of them spills, and the compiler has not put its wgmma
one after the other. Needs NVRTC, no GPU; and for the instructions nvdisasm or cuobjdump.

    sass.py NVRTC
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent / 'codegen')]
sys.dont_write_bytecode = True
import cubins  # noqa: E402
import elf  # noqa: E402
import render  # noqa: E402
import schema  # noqa: E402
import tap  # noqa: E402
import tile  # noqa: E402

TARGET = 'sm_90a'
SHAPE = (512, 64)
SPILLS = ('STL', 'LDL')
# What ptxas says of wgmma that it cannot keep in flight: C7508 to C7514, by release.
SERIAL = re.compile(r'wgmma.*serializ|\(C75\d\d\)', re.IGNORECASE)
# A line: address, predicate, name, the name's suffixes
INSTRUCTION = re.compile(r'^\s*/\*[0-9a-f]{4,}\*/\s*(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)(?:\.[\w.]+)?(?=[\s;])',
                         re.MULTILINE)
LISTING = '''
        /*0a30*/              @!P0 STL.64 [R1+0x8], R24 ;   /* 0x0000081801007387 */
        /*0a40*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR4], R24 ;
.L_x_1:
        /*0a50*/                   EXIT ;
'''

# wgmma whose sums are read before it has been waited for
RACING = r'''
extern "C" __global__ void __launch_bounds__(128) lathe_racing(float *out, unsigned long long a, int steps) {
  float d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  for (int i = 0; i < steps; ++i) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    asm volatile("{ wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %4, 1, 1, 1, 0, 0; }"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "l"(a));
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    d[0] += 1.0f;
  }
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  out[threadIdx.x] = d[0] + d[1] + d[2] + d[3];
}
'''


def disassembler(nvrtc_path):
    """A command that takes a cubin and prints its instructions, or None."""
    folders = [os.environ.get('CUDA_HOME', '') + '/bin', '/usr/local/cuda/bin']
    library = Path(nvrtc_path).resolve().parent
    folders += [str(folder / 'bin') for folder in list(library.parents)[:3]]
    path = os.pathsep.join([os.environ.get('PATH', ''), *folders])
    for name, options in (('nvdisasm', ['-c']), ('cuobjdump', ['-sass'])):
        found = shutil.which(name, path=path)
        if found:
            return [found, *options]
    return None


def instructions(text):
    """How often each one occurs, by its name up to the first dot."""
    return Counter(INSTRUCTION.findall(text))


def variants():
    catalog = schema.load(HERE.parent.parent / 'codegen/variants.toml')
    for family in catalog.families:
        if family.arch not in ('sm90', 'sm90a'):
            continue
        for rows in family.rows:
            for page in family.pages:
                yield schema.Variant(family, *SHAPE, family.tile(*SHAPE, rows, tile.SHARED_LIMIT[90], page))


def check_instructions(v, found):
    wide, boxed = v.family.arch == 'sm90a', v.tile.page > 1
    want = ['HGMMA' if wide else 'HMMA', 'UTMALDG' if boxed else 'LDGSTS']
    lacking = [name for name in want if not found[name]]
    tap.check(not lacking, f'{v.name} has {" and ".join(want)}', f'it has no {", ".join(lacking)}: {dict(found)}')
    spills = {name: found[name] for name in SPILLS if found[name]}
    tap.check(not spills, f'{v.name} does not touch local memory', spills)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('nvrtc', help='path of libnvrtc.so')
    args = parser.parse_args()
    nvrtc = cubins.Nvrtc(args.nvrtc)

    def compile_one(v):
        try:
            return nvrtc.compile_with_log(v.name, render.params(v) + render.body(v.family), TARGET)
        except cubins.CompileError as error:
            return error

    # The test tested: instructions are found, and wgmma that must be serialised is complained of.
    tap.check(instructions(LISTING) == {'STL': 1, 'HGMMA': 1, 'EXIT': 1}, 'instructions are counted',
              instructions(LISTING))
    _, log = nvrtc.compile_with_log('racing', RACING, TARGET)
    told = tap.check(SERIAL.search(log), 'wgmma that is read too early is told of', log or 'the log is empty')
    todo = list(variants())
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        made = list(pool.map(compile_one, todo))
    command = disassembler(args.nvrtc)
    with tempfile.TemporaryDirectory() as folder:
        for v, result in zip(todo, made):
            if isinstance(result, Exception):
                tap.check(False, f'{v.name} compiles', result)
                continue
            cubin, log = result
            resources = elf.kernels(cubin)[f'lathe_{v.name}']
            tap.check(resources.local == 0, f'{v.name} has no local memory', f'{resources.local} bytes a thread')
            if told:
                tap.check(not SERIAL.search(log), f'{v.name}: no wgmma is serialised', log)
            if not command:
                continue
            path = Path(folder, v.name + '.cubin')
            path.write_bytes(cubin)
            done = subprocess.run([*command, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  check=False)
            if tap.check(done.returncode == 0, f'{v.name} is disassembled', done.stderr):
                check_instructions(v, instructions(done.stdout))
    if not command:
        tap.skip('instructions of the kernels', 'neither nvdisasm nor cuobjdump found')
    tap.done()


if __name__ == '__main__':
    main()
