#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Draws a benchmark's JSON: time over the machine's limit, row by row, Lathe beside the peers.

    python3 tests/bench/plot.py bench.json chart.svg

Each library's time is divided by the limit of the machine it was measured on: 1 is as fast as memory or
the tensor cores allow. The peers' figures come from tests/bench/rows.h, which says how they were measured.
"""

import json
import sys

PEERS = [
    ("Lathe", None, "#1f77b4"),
    ("FlashMLA", "flashmla_us", "#7f7f7f"),
    ("FlashInfer fa3", "flashinfer_fa3_us", "#bcbd22"),
    ("FlashInfer fa2", "flashinfer_fa2_us", "#e377c2"),
]


def ratios(row, key):
    if key is None:
        return min(row["graph_us"], row["single_us"]) / row["limit_us"]
    reference = row["reference"]
    if reference[key] <= 0 or reference["limit_us"] <= 0:
        return None
    return reference[key] / reference["limit_us"]


def main(argv):
    if len(argv) != 3:
        sys.exit(__doc__)
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plot
    except ImportError:
        sys.exit("plot.py needs matplotlib (Debian: python3-matplotlib)")
    with open(argv[1], encoding="utf-8") as file:
        data = json.load(file)
    rows = [row for row in data["rows"] if row["correct"]]
    figure, axes = plot.subplots(figsize=(9, 0.45 * len(rows) + 1.6))
    height = 0.8 / len(PEERS)
    for place, (name, key, colour) in enumerate(PEERS):
        at, widths = [], []
        for number, row in enumerate(rows):
            ratio = ratios(row, key)
            if ratio is not None:
                at.append(number + (place - (len(PEERS) - 1) / 2) * height)
                widths.append(ratio)
        if at:
            axes.barh(at, widths, height, label=name, color=colour)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row["row"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("time / what the machine allows (1 is the limit; shorter is better)")
    axes.set_title(f"MLA decode, {data['kv_dtype']} cache, {data['device']}")
    axes.legend(loc="lower right")
    figure.tight_layout()
    # no date and no random ids, so that the same data draw the same file
    matplotlib.rcParams["svg.hashsalt"] = "lathe"
    metadata = {"Date": None} if argv[2].endswith(".svg") else None
    figure.savefig(argv[2], metadata=metadata)


if __name__ == "__main__":
    main(sys.argv)
