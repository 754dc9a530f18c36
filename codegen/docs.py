# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""The tables of docs/ that come from the same lists as the code."""

import re

import models
import render
import schema
import tile

STRING = r'"(?:[^"\\]|\\.)*"'
STRINGS = rf'((?:{STRING}\s*)+)'
ENVIRONMENT = re.compile(rf'^\s*X\((\w+),\s*{STRINGS},\s*{STRINGS},\s*{STRINGS}\)', re.M)
REASONS = re.compile(rf'^\s*X\((\w+),\s*(\w+),\s*{STRINGS},\s*{STRINGS}\)', re.M)


def _rows(pattern, header):
    """Rows of an X macro of include/lathe/impl; adjacent strings are joined."""
    text = (render.ROOT / "include/lathe/impl" / header).read_text(encoding="utf-8").replace("\\\n", "\n")
    return [["".join(s[1:-1] for s in re.findall(STRING, field)) if field.startswith('"') else field
             for field in row] for row in pattern.findall(text)]


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
        for kv_row, cache in ((1152, "f16, bf16"), (576, "e4m3"), (656, "row656")):
            for optin in sorted(set(tile.SHARED_LIMIT.values()), reverse=True):
                t = tile.choose(512, 64, kv_row, rows_total, optin, cache == "row656")
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


TENSOR_PARALLEL = (1, 2, 4, 8)


def _needs(model, of):
    return ", ".join(name if value is True else f"{name} {value}" for name, value in model.needs.items()
                     if (name in model.missing) is of)


def model_table(catalog):
    listed = models.load()
    ahead = {(row.l, row.r) for row in catalog.rows for family in row.families
             if family.name == "decode_sm80_bf16_bf16"}
    rows, without = [], []

    def optional(m):  # is it run with an option? no kernel of the list has one
        return any(m.known(name) for name in m.needs if name not in m.missing)

    for m in listed.models:
        def value(field, text):
            return f"{text}?" if field in m.unseen else f"{text}"
        scale = value("yarn", f"{m.softmax_scale:.5f}")
        if m.yarn_factor:
            scale += f" (YaRN {m.yarn_factor:g}, {m.yarn_mscale_all_dim:g})"
        rope = value("qk_rope_head_dim", m.qk_rope_head_dim)
        rows.append((f"`{m.name}`", m.title, value("num_heads", m.num_heads), value("kv_lora_rank", m.kv_lora_rank),
                     value("qk_nope_head_dim", m.qk_nope_head_dim),
                     f"{rope}, {m.rope_in_latent} in L" if m.rope_in_latent else rope,
                     value("v_head_dim", m.v_head_dim), scale, value("pairing", m.pairing.replace("_", "-")),
                     " ".join(str(m.heads(tp) or "-") for tp in TENSOR_PARALLEL),
                     "ahead of time" if (m.kv_lora_rank, m.qk_rope_head_dim) in ahead and not optional(m) else "NVRTC",
                     _needs(m, False) or "", _needs(m, True) or "", m.note))
    for option in listed.options:
        without.append((f"`{option.name}`", option.what, f"`{option.field}`" if option.field else "not yet",
                        "" if option.field else option.without))
    return ("# Models\n\nMade by `python3 codegen/generate.py --docs` from `codegen/models.toml`. The attention of one "
            "layer: query heads H, `kv_lora_rank` L, `qk_nope_head_dim` N, `qk_rope_head_dim` R, `v_head_dim` V. "
            "`?`: no config showed the value; it is that of the model's kin.\n\n"
            "The softmax scale is 1 / sqrt(N + R), times m\u00b2 with YaRN, m = 0.1 mscale_all_dim ln(factor) + 1: "
            "`lathe_softmax_scale(N, R, lathe_yarn_q_scaling(factor, mscale_all_dim))`. The pairing is of the elements "
            "that rope rotates with each other, which is done before the decode step. Every rank of a tensor-parallel "
            "group has H / TP heads and the whole cache. Kernels for bf16 caches are built ahead of time, or by NVRTC at "
            "run time.\n\nThe tests run each row on the CPU against un-absorbed attention, compile its kernels, and run "
            "it on a GPU at TP 1, 2, 4 and 8 as far as its heads divide; `examples/model.c` runs the one that it is "
            "told. A model that needs an option which Lathe does not have, or with a value that is not known (?), is run "
            "without it; where it has both picked rows and a window, its lists stand for both.\n\n" +
            _table(("name", "model", "H", "L", "N", "R", "V", "softmax scale", "pairing",
                    "heads at TP " + " ".join(map(str, TENSOR_PARALLEL)), "kernels", "options", "options missing", "besides"),
                   rows) +
            "\n## Options\n\n" + _table(("option", "means", "in Lathe", "without it a run computes"), without))


def environment():
    rows = [(f"`{name}`", values.replace("|", "\\|"), default, words)
            for name, values, default, words in _rows(ENVIRONMENT, "env.h")]
    return ("# Environment\n\nRead once, when a context is made; fields of `lathe_context_desc` win. An unknown value is "
            "an error. Made by `python3 codegen/generate.py --docs` from `include/lathe/impl/env.h`.\n\n" +
            _table(("variable", "values", "default", "meaning"), rows))


def refusals():
    rows = [(f"`LATHE_REASON_{name}`", f"`LATHE_STATUS_{status}`", when, works)
            for name, status, when, works in _rows(REASONS, "reason.h")]
    return ("# Refusals\n\nWhy `lathe_decode_check`, `lathe_decode_check_device` and `lathe_decode_plan_create` refuse "
            "a `lathe_decode_desc`, and those of append and merge theirs: `lathe_last_error()->reason`, beside the "
            "field, its value and a sentence that names both. Nothing has been compiled then. Made by `python3 codegen/generate.py --docs` from "
            "`include/lathe/impl/reason.h`.\n\n" + _table(("reason", "status", "when", "what works"), rows))


def files(catalog):
    return {render.ROOT / "docs" / "variants.md": variants(catalog),
            render.ROOT / "docs" / "models.md": model_table(catalog),
            render.ROOT / "docs" / "refusals.md": refusals(),
            render.ROOT / "docs" / "environment.md": environment()}
