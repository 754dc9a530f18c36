#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Makes the generated headers out of templates/, codegen/variants.toml and codegen/models.toml.

  generate.py --out DIR             DIR/lathe/generated/*: kernel sources, the variants for nvcc, models
  generate.py --out DIR --cubins    DIR/lathe/lathe_cubins.h: kernels compiled by NVRTC, for --archs
  generate.py --out DIR --check     compares instead of writing; ends 1 with a diff
  generate.py --outputs             the names of the files in DIR/lathe/generated
  generate.py --list                the variants that are built ahead of time
  generate.py --show NAME           the whole text of one, as the compiler sees it
  generate.py --docs                the tables of docs/ (with --check: compares)

Output depends on the inputs alone, and a file is written only if its text changes.
"""

import argparse
import difflib
import sys
from pathlib import Path

import cubins
import docs
import models
import render
import schema
import tile


def generated(catalog):
    """File name in lathe/generated to text."""
    archs = sorted(tile.SHARED_LIMIT)
    limits = {}
    for arch in archs:
        limits.setdefault(tile.SHARED_LIMIT[arch], []).append(arch)
    wanted_by = {}  # variant to conditions of variants.cuh
    for limit, fitting in limits.items():
        for variant in catalog.variants(fitting):
            arch = variant.family.arch
            wanted_by.setdefault(variant.name, []).append(
                f"LATHEP_FITS_{limit}" if len(schema.ARCHS[arch].devices) > 1 else f"LATHEP_SERVES_{arch}")
    variants = catalog.variants(archs)

    files = {f"{name}.body.cuh": render.empty(name) for name in render.EMPTY}
    distinct, families = {}, {}
    for family in catalog.families:
        text = render.body(family)
        files[f"{family.name}.body.cuh"] = text
        families[family.name] = [distinct.setdefault(part, len(distinct)) for part in render.parts(text)]
    files["sources.h"] = render.emit("sources.h.j2", parts=list(distinct), families=families)
    files["variants.cuh"] = render.emit("variants.cuh.j2", variants=variants, limits=limits,
                                        wanted_by=wanted_by)
    files["variant_rows.h"] = render.emit("variant_rows.h.j2", variants=variants)
    files["models.h"] = render.emit("models.h.j2", models=models.load().models, pairings=models.PAIRINGS)
    return files


def put(files, check):
    """Writes what differs; with `check` prints the difference and returns 1."""
    differs = 0
    for path, text in sorted(files.items()):
        old = path.read_text(encoding="utf-8") if path.is_file() else ""
        if old == text:
            continue
        if check:
            differs = 1
            sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), text.splitlines(True),
                                                       str(path), "generated", n=1))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return differs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the include folder to write lathe/... into")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--cubins", action="store_true")
    parser.add_argument("--archs", default="sm_80,sm_86,sm_89,sm_90a,sm_100,sm_120,compute_80")
    parser.add_argument("--nvrtc", default="libnvrtc.so", help="path of libnvrtc.so")
    parser.add_argument("--outputs", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--show", metavar="NAME")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("variants", nargs="?", default=Path(__file__).with_name("variants.toml"), type=Path,
                        help="another variants.toml")
    options = parser.parse_args()
    try:
        catalog = schema.load(options.variants)
        if options.outputs:
            print("\n".join(sorted(generated(catalog))))
        elif options.list:
            print("\n".join(v.name for v in catalog.variants(tile.SHARED_LIMIT)))
        elif options.show:
            for variant in catalog.variants(tile.SHARED_LIMIT):
                if variant.name == options.show:
                    sys.stdout.write(render.params(variant) + render.body(variant.family))
                    return 0
            print(f"no variant {options.show}; --list names them", file=sys.stderr)
            return 1
        elif options.docs:
            return put(docs.files(catalog), options.check)
        elif not options.out:
            parser.error("give --out, --outputs, --list, --show or --docs")
        elif options.cubins:
            text = render.emit("cubins.h.j2", images=cubins.compile_all(catalog, options.archs.split(","),
                                                                       options.nvrtc))
            return put({options.out / "lathe" / "lathe_cubins.h": text}, options.check)
        else:
            return put({options.out / "lathe" / "generated" / name: text
                        for name, text in generated(catalog).items()}, options.check)
    except schema.SchemaError as error:
        print(f"{options.variants}: {error}", file=sys.stderr)
        return 1
    except cubins.CompileError as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
