# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""The library's variants and those of codegen/ are the same: tile by tile over a wide grid, and the text
that nvcc gets, byte for byte, the text that NVRTC gets.

    test_mirror.py MIRROR GENERATED      the program of mirror.c; lathe/generated of the build
"""
import itertools
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / 'codegen')]
sys.dont_write_bytecode = True
import render  # noqa: E402
import schema  # noqa: E402
import tap  # noqa: E402
import tile  # noqa: E402

DIMS = [16, 32, 48, 64, 96, 112, 128, 160, 192, 208, 256, 320, 336, 384, 448, 512, 528, 576, 640, 768, 1024, 1040, 2048]
ROPES = [0, 16, 32, 48, 64, 80, 128, 192, 512]
ROWS = [1, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 1000, 65536]
PAGES = [1, 2, 8, 12, 16, 24, 32, 40, 48, 64, 96, 100, 128, 192]
LIMITS = sorted({*tile.SHARED_LIMIT.values(), 49152, 65536, 98304, 101375, 101377, 166911, 200000, 262144})


def mirror(program, mode, lines):
    result = subprocess.run([program, mode], input='\n'.join(lines) + '\n', text=True, check=True,
                            stdout=subprocess.PIPE)
    return result.stdout


def tiles(program):
    for arch, kv in (('sm80', 'bf16'), ('sm80', 'e4m3'), ('sm90', 'bf16'), ('sm90a', 'bf16')):
        family = schema.Family('decode', arch, 'bf16', kv, 'bf16')
        for l in DIMS:
            portable = arch == 'sm80'
            free = (ROWS, PAGES[:1]) if portable else (ROWS[:1], PAGES)
            cases = list(itertools.product(ROPES, *free, LIMITS))
            got = mirror(program, 'tile', [f'{arch} bf16 {kv} bf16 {l} {r} {rows} {size} {limit} 0'
                                           for r, rows, size, limit in cases]).splitlines()
            wrong = []
            for (r, rows, size, limit), line in zip(cases, got, strict=True):
                page = None if portable else tile.hopper_page(arch, size)
                t = family.tile(l, r, rows, limit, page) if portable or page else None
                want = f'{schema.Variant(family, l, r, t).name} {t.shared_bytes} {t.threads}' if t else '-'
                if line != want:
                    wrong.append(f'r={r} rows={rows} page_size={size} limit={limit}: C {line}, Python {want}')
            tap.check(not wrong, f'tiles of {arch}, {kv}, L = {l}: {len(cases)} cases agree', '\n'.join(wrong[:5]))


def plain(v):
    """The line for a kernel without a tile."""
    op = v.family.op
    return ' '.join([op, *(getattr(v.family, field) for field in schema.FAMILY_FIELDS[op]),
                     *(str(getattr(v, field)) for field in schema.ROW_FIELDS[op]),
                     *([str(v.option_bits)] if schema.OP_OPTIONS[op] else [])])


def texts(program, generated):
    """Every variant that is built ahead of time, and every family at a shape that is not."""
    catalog = schema.load(HERE.parent.parent / 'codegen/variants.toml')
    jobs = {}
    for row in catalog.rows:
        for f in row.families:
            if f.op != 'decode':
                for tokens, options in itertools.product(row.tokens or (0,), row.options):
                    v = schema.Variant(f, row.l, row.r, tokens=tokens, options=options)
                    jobs[plain(v)] = v
                continue
            for rows, limit, page, options in itertools.product(row.rows, f.limits(tile.SHARED_LIMIT),
                                                                row.pages or f.pages[:1] or (64,), row.options):
                v = schema.Variant(f, row.l, row.r, f.tile(row.l, row.r, rows, limit, page), options=options)
                jobs[f'{f.arch} {f.q} {f.kv} {f.out} {row.l} {row.r} {rows} {page} {limit} {v.option_bits}'] = v
    for f in catalog.families:
        if f.op not in ('decode', 'schedule'):
            l, r = (512, 64) if f.kv == 'row656' else (48, 16 if f.op == 'append' else 0)
            for options in {'', schema.OP_OPTIONS[f.op]}:
                v = schema.Variant(f, l, r, options=options)
                jobs[plain(v)] = v
        elif f.op == 'decode':
            # without options and, where there are any, with each and with all
            known = f.known_options
            l = 512 if f.kv == 'row656' else 320
            for options in {'', *known, known}:
                v = schema.Variant(f, l, 64, f.tile(l, 64, 40, 232448), options=options)
                jobs[f'{f.arch} {f.q} {f.kv} {f.out} {l} 64 40 64 232448 {v.option_bits}'] = v
        else:
            for options in schema.OP_OPTIONS['schedule']:
                v = schema.Variant(f, tokens=16, options=options)
                jobs[plain(v)] = v
    output = mirror(program, 'text', list(jobs)).encode()
    done = set()
    for variant in jobs.values():
        length, _, output = output.partition(b'\n')
        text, output = output[:int(length)], output[int(length):]
        if variant.name in done:
            continue
        done.add(variant.name)
        body = (generated / f'{variant.family.name}.body.cuh').read_bytes()
        want = render.params(variant).encode() + body
        tap.check(text == want, f'{variant.name}: nvcc and NVRTC get the same {len(want)} bytes')
    tap.check(not output, 'and nothing more')
    built = {v.name for v in catalog.variants(tile.SHARED_LIMIT)}
    tap.check(built <= done, 'every variant of the list was compared', ' '.join(sorted(built - done)))
    variants = (generated / 'variants.cuh').read_text()
    missing = [v.name for v in catalog.variants(tile.SHARED_LIMIT) if render.params(v) not in variants]
    tap.check(not missing, 'variants.cuh has the same parameter blocks', ' '.join(missing))


if __name__ == '__main__':
    tiles(sys.argv[1])
    texts(sys.argv[1], Path(sys.argv[2]))
    tap.done()
