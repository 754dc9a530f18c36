# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""The tables of docs/ that come from the same lists as the code."""

import re

import render
import schema
import tile

ENVIRONMENT = re.compile(r'^\s*X\((\w+),\s*"(.*?)",\s*"(.*?)",\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\)', re.M)


def _table(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def variants(catalog):
    families = [(f"`{f.name}`", f.q or "", f.kv or "", f.out) for f in catalog.families]
    rows = []
    for row in catalog.rows:
        for family in row.families:
            tiles = " ".join(map(str, row.rows))
            pages = " ".join(map(str, row.pages or family.pages[:1]))
            rows.append((f"`{family.name}`", row.l or "", row.r if family.has("r") else "", tiles, pages,
                         " ".join(map(str, row.tokens)),
                         "yes" if row.ptx else "", row.why))
    sizes = []
    for arch in tile.HOPPER:
        t = tile.choose_hopper(arch, 512, 64, tile.SHARED_LIMIT[90], tile.HOPPER[arch].pages[0])
        sizes.append((f"`{arch}`", "any", "f16, bf16", "sm_90", f"`{t.name}`", f"{t.shared_bytes:,}"))
    for rows_total, label in ((16, "up to 16"), (32, "up to 32"), (64, "more")):
        for kv_size, cache in ((2, "f16, bf16"), (1, "e4m3")):
            for optin in sorted(set(tile.SHARED_LIMIT.values()), reverse=True):
                t = tile.choose(512, 64, kv_size, rows_total, optin)
                archs = ", ".join(f"sm_{a}" for a in sorted(tile.SHARED_LIMIT) if tile.SHARED_LIMIT[a] == optin)
                sizes.append(("`sm80`", label, cache, archs, f"`{t.name}`", f"{t.shared_bytes:,}"))
    return ("# Variants\n\nMade by `python3 codegen/generate.py --docs` from `codegen/variants.toml`; names: "
            "[codegen/README.md](../codegen/README.md).\n\n## Families\n\nWhat can be compiled at run time, for "
            "any legal `kv_lora_rank` L and `qk_rope_head_dim` R.\n\n" +
            _table(("family", "query", "cache", "output"), families) +
            "\n## Built ahead of time\n\n" +
            _table(("family", "L", "R", "row tiles", "page", "tokens", "PTX", "for"), rows) +
            "\n## Tiles\n\nHow the work is cut for L = 512, R = 64, by rows = heads x query tokens and by the shared memory that a block "
            "may have. Which policy a plan gets is the table in `include/lathe/impl/dispatch.h`.\n\n" +
            _table(("policy", "rows", "cache", "architectures", "tile", "shared bytes"), sizes))


def environment():
    text = (render.ROOT / "include/lathe/impl/env.h").read_text(encoding="utf-8")
    text = text.replace("\\\n", "\n")
    rows = []
    for name, values, default, help_text in ENVIRONMENT.findall(text):
        words = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', help_text))
        rows.append((f"`{name if name.startswith('LATHE_') else 'LATHE_' + name}`",
                     values.replace("|", "\\|"), default, words))
    return ("# Environment\n\nRead once, when a context is made; fields of `lathe_context_desc` win. An unknown value is "
            "an error. Made by `python3 codegen/generate.py --docs` from `include/lathe/impl/env.h`.\n\n" +
            _table(("variable", "values", "default", "meaning"), rows))


def files(catalog):
    return {render.ROOT / "docs" / "variants.md": variants(catalog),
            render.ROOT / "docs" / "environment.md": environment()}
