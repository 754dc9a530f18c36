# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Compiles every family for every architecture and holds registers, local memory (spills) and shared memory
of each kernel to the record in budget.json. Needs NVRTC, no GPU.

    budget.py NVRTC                compares what changed, and a sample of the rest
    budget.py NVRTC --all          compares everything, which takes most of an hour of one core
    budget.py NVRTC --write        writes the record anew; the difference is for a person to look at

A compiler makes the same of the same text, so a kernel whose text is the recorded one need not be compiled again:
one in SAMPLE is, and the others' recorded numbers stand.

The numbers are one compiler's: with another NVRTC than that of the record, only what holds for all of them is
tested, of a sample: that kernels compile, that the tile's blocks fit a multiprocessor, and that nothing
of DeepSeek's shape spills.
"""
import argparse
import ctypes
import hashlib
import itertools
import json
import os
import re
import sys
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

RECORD = HERE / 'budget.json'
V3 = (512, 64)
TARGETS = ['sm_80', 'sm_86', 'sm_89', 'sm_90a', 'sm_100', 'sm_103', 'sm_110', 'sm_120']
# shapes beside DeepSeek's, and where they are compiled
OTHERS = [(512, 0), (256, 64), (256, 32), (128, 32), (320, 64)]
OTHER_TARGETS = ['sm_80', 'sm_90a']
SAMPLE = 12
REGISTERS, BLOCK_REGISTERS = 65536, 256  # of a multiprocessor; what each warp's are rounded up to


def words(family, l, r):
    """The sets of options that a family is compiled with: none, and of DeepSeek's shape as many as go together, which
    need most."""
    known = family.known_options if family.out == (family.q or family.out) else ''
    sets = {''.join(letter for letter in letters if letter in known) for letters in schema.TOGETHER}
    most = sorted(word for word in sets if word and not any(set(word) < set(other) for other in sets))
    return ['', *most] if (l, r) == V3 else ['']


def variants(catalog, l, r, target):
    """Every family of the target at one shape: all row tiles, and of a family that differs in nothing but the
    output's type the largest, which has the fewest registers to spare. Of DeepSeek's shape all pages too."""
    limit = tile.SHARED_LIMIT[cubins.arch(target)]
    found = {}
    for family in catalog.families:
        if not cubins.serves(family, target) or (family.kv == 'row656' and (l, r) != V3):
            continue
        if family.op == 'schedule':
            for tokens, options in itertools.product(schema.TOKENS if (l, r) == V3 else (), words(family, l, r)):
                v = schema.Variant(family, tokens=tokens, options=options)
                found[v.name] = v
            continue
        if family.op != 'decode':
            for options in words(family, l, r):
                v = schema.Variant(family, l, r, options=options)
                found[v.name] = v
            continue
        pages = family.pages if (l, r) == V3 and family.out == family.q else family.pages[:1]
        for rows in family.rows if family.out == family.q else family.rows[-1:]:
            for page, options in itertools.product(pages or (None,), words(family, l, r)):
                v = schema.Variant(family, l, r, family.tile(l, r, rows, limit, page), options=options)
                found[v.name] = v
    return list(found.values())


def jobs(catalog, known):
    found = {}
    for target in TARGETS:
        if cubins.arch(target) not in known:
            continue
        for shape in [V3, *(OTHERS if target in OTHER_TARGETS else [])]:
            for v in variants(catalog, *shape, target):
                found[v.name, target] = v
    return found


def texts(todo):
    """What the compiler sees of each kernel, by name."""
    bodies = {family: render.body(family) for family in {v.family for v in todo.values()}}
    return {v.name: render.params(v) + bodies[v.family] for v in todo.values()}


def digest(text):
    """Of what the compiler makes something of: comments and the width of spaces are not."""
    return hashlib.sha256(' '.join(re.sub('//.*', '', text).split()).encode()).hexdigest()[:16]


def sampled(name, target):
    return int(digest(name + target), 16) % SAMPLE == 0


def measure(nvrtc, text, todo):
    def one(job):
        name, target = job
        try:
            cubin = nvrtc.compile(name, text[name], target)
            return elf.kernels(cubin)[f'lathe_{name}']
        except cubins.CompileError as error:
            return error

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return dict(zip(todo, pool.map(one, todo)))


def nvrtc_facts(nvrtc):
    """Its version, and the architectures it knows as 10 * major + minor."""
    major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    nvrtc.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    nvrtc.library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    known = (ctypes.c_int * count.value)()
    nvrtc.library.nvrtcGetSupportedArchs(known)
    return f'{major.value}.{minor.value}', set(known)


def write(version, text, found):
    kernels = {}
    for (name, target), r in sorted(found.items()):
        kernels.setdefault(name, {'text': digest(text[name])})[target] = [r.registers, r.local, r.shared]
    lines = [f'    {json.dumps(name)}: {json.dumps(of)}' for name, of in kernels.items()]
    RECORD.write_text('{\n  "nvrtc": "%s",\n  "of each": ["registers a thread", "local bytes a thread", '
                      '"static shared bytes a block"],\n  "kernels": {\n%s\n  }\n}\n' % (version, ',\n'.join(lines)))


def sound(v, r):
    """What is wrong with a kernel's resources, whoever compiled it."""
    if v.family.op != 'decode':
        threads, ctas, most_shared = 256, 1, 48 * 1024
    else:
        threads, ctas = v.tile.threads, v.tile.ctas
        most_shared = tile.SHARED_STATIC
    rounded = -(-r.registers * 32 // BLOCK_REGISTERS) * BLOCK_REGISTERS * threads // 32
    if rounded * ctas > REGISTERS:
        return f'{r.registers} registers: {ctas} blocks of {threads} threads have no room'
    if not 16 <= r.shared <= most_shared:
        return f'{r.shared} bytes of static shared memory, not 16 to {most_shared}'
    if r.local and (v.family.op != 'decode' or (v.l, v.r) == V3):
        return f'{r.local} bytes of local memory: it spills'
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('nvrtc', help='path of libnvrtc.so')
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--all', action='store_true', help='compile what has not changed, too')
    args = parser.parse_args()
    nvrtc = cubins.Nvrtc(args.nvrtc)
    version, known = nvrtc_facts(nvrtc)
    catalog = schema.load(HERE.parent.parent / 'codegen/variants.toml')
    todo = jobs(catalog, known)
    text = texts(todo)
    record = json.loads(RECORD.read_text())
    same = record['nvrtc'] == version
    then = {(name, target): elf.Resources(*numbers) for name, of in record['kernels'].items()
            for target, numbers in of.items() if target != 'text'}
    kept = {(name, target): then[name, target] for name, target in todo if same and (name, target) in then and
            record['kernels'][name].get('text') == digest(text[name])}
    anew = [job for job in todo if args.all or (job not in kept if same or args.write else sampled(*job)) or
            (job in kept and not args.write and sampled(*job))]
    found = kept | measure(nvrtc, text, anew)
    if args.write:
        broken = [str(r) for r in found.values() if isinstance(r, Exception)]
        if broken:
            sys.exit('\n'.join(broken))
        return write(version, text, found)

    for (name, target), r in sorted(found.items()):
        label = f'{name} for {target}'
        if isinstance(r, Exception):
            tap.check(False, f'{label} compiles', r)
            continue
        why = sound(todo[name, target], r)
        tap.check(not why, f'{label}: {r.registers} registers, {r.local} local, {r.shared} shared bytes', why)
    if not same:
        tap.skip('as recorded', f'the record is of NVRTC {record["nvrtc"]}, this is {version}')
    for target in TARGETS if same else ():
        differ = [f'{name}: now {found.get((name, target))}, recorded {then.get((name, target))}'
                  for name, at in sorted(found.keys() | then.keys())
                  if at == target and found.get((name, target)) != then.get((name, target))]
        count = sum(at == target for _, at in anew)
        tap.check(not differ, f'{target}: {count} kernels compiled, registers, local and shared bytes as recorded',
                  '\n'.join(differ) + '\nIf this is meant: python3 tests/budget/budget.py NVRTC --write')
    for target in TARGETS:
        if cubins.arch(target) not in known:
            tap.skip(target, f'NVRTC {version} does not know it')
    tap.done()


if __name__ == '__main__':
    main()
