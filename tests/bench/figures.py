#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""What a benchmark's JSON says, as numbers and as the tables of docs/benchmarks/README.md.

    figures.py FILE.json...        prints the table of each
    figures.py --write README.md   remakes the tables that lie between <!-- figures: FILE.json --> and
    figures.py --check README.md   <!-- end -->, FILE.json beside it; --check exits 1 if one is not as made
"""
import json
import math
import re
import sys
from pathlib import Path

# name, field of a row's "reference"
PEERS = [
    ('FlashMLA', 'flashmla_us'),
    ('FlashInfer fa3', 'flashinfer_fa3_us'),
    ('FlashInfer fa2', 'flashinfer_fa2_us'),
]
SECTION = re.compile(r'(<!-- figures: ([\w.-]+) -->\n).*?(<!-- end -->)', re.S)


def load(path):
    with open(path, encoding='utf-8') as file:
        return json.load(file)


def timed(data):
    """Rows that were neither skipped nor wrong."""
    return [row for row in data['rows'] if row['correct']]


def best(row):
    """Microseconds: the smaller of the two ways to time a call; of runs of a schedule if those were timed."""
    of = 'scheduled_' if 'scheduled_graph_us' in row else ''
    return min(row[f'{of}graph_us'], row[f'{of}single_us'])


def time_of(row, key=None):
    """Lathe's time, or a peer's; None if it was not measured."""
    return best(row) if key is None else row['reference'].get(key) or None


def limit_of(row, key=None):
    """The limit of the machine that time_of() is from."""
    return (row if key is None else row['reference']).get('limit_us') or None


def fraction(row, key=None):
    """Limit over time: 1 is all that the machine allows. None if either is not known."""
    time, limit = time_of(row, key), limit_of(row, key)
    return limit / time if time and limit else None


def mean_over_limit(rows, key):
    """(rows, Lathe, peer): geometric means of time over limit, over the rows that both have."""
    pairs = [(fraction(row), fraction(row, key)) for row in rows]
    pairs = [pair for pair in pairs if None not in pair]
    if not pairs:
        return 0, None, None
    lathe, peer = (math.exp(-sum(map(math.log, values)) / len(pairs)) for values in zip(*pairs))
    return len(pairs), lathe, peer


def label(row):
    """As in the tables: B, S, H, K and what is not the default."""
    kv = str(row['kv_max']) if row['kv_min'] == row['kv_max'] else f'{row["kv_min"]}–{row["kv_max"]}'
    text = f'{row["batch"]}, {row["q_len"]}, {row["num_heads"]}, {kv}'
    if row.get('sliding_window'):
        text += f' window {row["sliding_window"]}'
    if row.get('sparse_topk'):
        text += f' top-k {row["sparse_topk"]}'
    if row['causal']:
        text += ' causal'
    if row.get('page_size', 64) != 64:
        text += f', page {row["page_size"]}'
    return text


def kernel(row):
    """The policy's word: decode_sm90a_... is sm90a."""
    return row['kernel'].split('_')[1]


def _number(value, digits):
    return '' if value is None else f'{value:.{digits}f}'


def table(data):
    """Markdown: a line for each timed row, then the means."""
    rows = timed(data)
    peers = [(name, key) for name, key in PEERS if any(time_of(row, key) for row in rows)]
    targets = any(time_of(row, 'target_us') for row in rows)
    columns = ['Lathe'] + [name for name, _ in peers] + (['target'] if targets else [])
    columns += ['limit', 'of the limit', 'TB/s', 'TFLOP/s']
    relative = any(row.get('relative') for row in rows)
    if relative:
        pages = any(row.get('page_size', 64) != 64 for row in rows)
        windows = any(row.get('sliding_window') for row in rows)
        columns.append('of p64' if pages else 'of K=w' if windows else 'of 2^n')
    lines = ['| B, S, H, K | kernel | ' + ' | '.join(columns) + ' |', '| --- | --- |' + ' ---: |' * len(columns)]
    for row in rows:
        cells = [_number(best(row), 1)] + [_number(time_of(row, key), 1) for _, key in peers]
        if targets:
            target = time_of(row, 'target_us')
            cells.append(_number(target, 1) + (' met' if target and best(row) <= target else ''))
        cells += [_number(limit_of(row), 1), _number(fraction(row), 2),
                  _number(row['bytes'] / best(row) / 1e6, 2), _number(row['flops'] / best(row) / 1e6, 0)]
        if relative:
            cells.append(_number(row.get('relative'), 2))
        lines.append(f'| {label(row)} | {kernel(row)} | ' + ' | '.join(cells) + ' |')
    lines.append('')
    for name, key in peers:
        count, lathe, peer = mean_over_limit(rows, key)
        if count:
            lines.append(f'- time over limit, geometric mean of {count} rows: Lathe {lathe:.2f}, '
                         f'{name} {peer:.2f}')
    lost = len(data['rows']) - len(rows)
    if lost:
        lines.append(f'- {lost} rows of the JSON were skipped or wrong')
    return '\n'.join(lines).rstrip() + '\n'


def append_table(data):
    """Markdown of bench_append's: beside a copy of the same bytes with the same strides, and an empty kernel."""
    lines = ['| what | tokens | heads | new tokens | Lathe | copy | speed of the copy | over an empty kernel | TB/s |',
             '| --- |' + ' ---: |' * 8]
    for row in timed(data):
        lathe, copy = best(row), min(row['copy_graph_us'], row['copy_single_us'])
        lines.append(f'| {row["what"]} | {row["tokens"]} | {row["num_heads"]} | {row["q_len"]} | {lathe:.1f} | {copy:.1f} | '
                     f'{copy / lathe:.2f} | {row["over_empty_us"]:.1f} | {row["bytes"] / lathe / 1e6:.2f} |')
    return '\n'.join(lines) + '\n'


def remake(path):
    """The text of a README with its tables made again."""
    def section(match):
        data = load(path.parent / match[2])
        make = append_table if any('copy_graph_us' in row for row in data['rows']) else table
        return match[1] + make(data) + match[3]
    return SECTION.sub(section, path.read_text(encoding='utf-8'))


def main(argv):
    if len(argv) == 3 and argv[1] in ('--write', '--check'):
        path = Path(argv[2])
        made = remake(path)
        same = made == path.read_text(encoding='utf-8')
        if argv[1] == '--check':
            if not same:
                print(f'{path}: not as made from the JSON; run figures.py --write', file=sys.stderr)
            return 0 if same else 1
        path.write_text(made, encoding='utf-8')
        return 0
    if len(argv) < 2 or argv[1].startswith('-'):
        sys.exit(__doc__)
    for path in argv[1:]:
        print(table(load(path)))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
