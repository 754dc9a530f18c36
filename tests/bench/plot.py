#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Draws a benchmark's JSON as two SVG files; needs Python and nothing else.

    plot.py FILE.json [PREFIX]     PREFIX-roofline.svg and PREFIX-limit.svg; PREFIX: FILE

roofline: TFLOP/s over FLOP/byte under the roofs measured in the same run. limit: how much of what its
machine allows each library reaches, row by row. The peers' times come from another machine of the same
kind (tests/bench/rows.h): in the second chart each is a fraction of the limit of that machine.
"""
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import figures  # noqa: E402
import svg  # noqa: E402

LIBRARIES = [
    ('Lathe', None, '#0b5fa5'),
    ('FlashMLA', 'flashmla_us', '#d55e00'),
    ('FlashInfer fa3', 'flashinfer_fa3_us', '#3c8d2f'),
    ('FlashInfer fa2', 'flashinfer_fa2_us', '#8c8c8c'),
]
MOST_NUMBERED = 30  # rows that the roofline numbers


def libraries_of(rows):
    return [l for l in LIBRARIES if any(figures.time_of(row, l[1]) for row in rows)]


def name_of(row):
    return 'B, S, H, K = ' + figures.label(row)


def heading(canvas, data, title, what):
    canvas.text(24, 30, title, size=17, font_weight='bold')
    sizes = {(row.get('kv_lora_rank', 512), row.get('qk_rope_head_dim', 64)) for row in data['rows']}
    dims = ', '.join(f'{l} + {r}' for l, r in sorted(sizes))
    canvas.text(24, 50, f'MLA decode, {data["device"]}, {data["kv_dtype"]} cache, {dims}. {what}', size=12,
                fill=svg.FAINT)


def legend(canvas, x, y, libraries, hollow):
    for name, key, colour in libraries:
        if hollow:
            canvas.circle(x + 5, y - 4, 5, **mark(key, colour))
        else:
            canvas.rect(x, y - 10, 11, 11, fill=colour)
        canvas.text(x + 17, y, name)
        x += 34 + 7 * len(name)
    return x


# ------------------------------------------------------------------------------------------ roofline


def mark(key, colour):
    """Lathe's points are filled, the peers' hollow."""
    if key is None:
        return {'fill': colour, 'stroke': '#ffffff', 'stroke_width': 1}
    return {'fill': 'none', 'stroke': colour, 'stroke_width': 1.6}


def bandwidth(data):
    """TB/s of the fastest streaming read of the run."""
    points = [(row['bytes'], row['stream_us']) for row in figures.timed(data)]
    points += [(point['bytes'], point['us']) for point in data.get('streaming', [])]
    return max(size / us / 1e6 for size, us in points)


def axes_of(data, rows, libraries, box):
    """Room for every point and for the ridge, where the roofs meet."""
    left, top, right, bottom = box
    memory, compute = bandwidth(data), data['matmul_tflops']
    intensity = [row['flops'] / row['bytes'] for row in rows]
    rates = [row['flops'] / figures.time_of(row, key) / 1e6 for row in rows for _, key, _ in libraries
             if figures.time_of(row, key)]
    ridge = compute / memory if compute else max(intensity)
    x = svg.LogAxis(min(intensity) / 1.6, max(max(intensity), ridge) * 2, left, right)
    y = svg.LogAxis(min(rates) / 1.6, max(max(rates), compute or x.high * memory) * 1.5, bottom, top)
    return x, y


def draw_axes(canvas, x, y):
    for value in x.ticks(2):
        canvas.line(x.at(value), y.end, x.at(value), y.start, stroke=svg.GRID)
        canvas.text(x.at(value), y.start + 18, f'{value:g}', anchor='middle')
    for value in y.ticks((1, 2, 5)):
        canvas.line(x.start, y.at(value), x.end, y.at(value), stroke=svg.GRID)
        canvas.text(x.start - 8, y.at(value) + 4, f'{value:g}', anchor='end')
    canvas.line(x.start, y.start, x.end, y.start)
    canvas.line(x.start, y.end, x.start, y.start)
    canvas.text((x.start + x.end) / 2, y.start + 40, 'FLOP per byte of cache, query and output', anchor='middle')
    canvas.text(20, (y.start + y.end) / 2, 'TFLOP/s', anchor='middle',
                transform=f'rotate(-90 20 {(y.start + y.end) / 2:.1f})')


def draw_roofs(canvas, data, x, y):
    memory, compute = bandwidth(data), data['matmul_tflops']
    ridge = min(compute / memory, x.high) if compute else min(x.high, y.high / memory)
    start = max(x.low, y.low / memory)
    canvas.line(x.at(start), y.at(start * memory), x.at(ridge), y.at(ridge * memory), class_='roof',
                stroke_width=2, note=f'streaming reads, {memory:.2f} TB/s')
    middle = (start * ridge) ** 0.5
    canvas.text(x.at(middle) - 10, y.at(middle * memory) - 10, f'streaming reads {memory:.2f} TB/s',
                anchor='end', font_weight='bold')
    if compute:
        source = data.get('matmul_source') or 'measured'
        source = 'large matrix product' if source == 'measured' else 'compute ceiling given'
        canvas.line(x.at(ridge), y.at(compute), x.end, y.at(compute), class_='roof', stroke_width=2,
                    note=f'{source}, {compute:.0f} TFLOP/s')
        canvas.text(x.end - 6, y.at(compute) - 8, f'{source} {compute:.0f} TFLOP/s', anchor='end',
                    font_weight='bold')


def draw_points(canvas, rows, libraries, x, y, radius):
    """The peers' first, so that Lathe's lie on top. Returns the places of Lathe's."""
    places = []
    for name, key, colour in reversed(libraries):
        for row in rows:
            time = figures.time_of(row, key)
            if not time:
                continue
            rate = row['flops'] / time / 1e6
            px, py = x.at(row['flops'] / row['bytes']), y.at(rate)
            canvas.circle(px, py, radius, class_='point', data_library=name, data_row=row['row'],
                          note=f'{name}, {name_of(row)}: {time:.1f} us, {rate:.0f} TFLOP/s', **mark(key, colour))
            if key is None:
                places.append((px, py))
    return places


def draw_numbers(canvas, rows, places, top, key_x):
    """A number beside each point, a thin line to it where it had to move, and what the numbers mean."""
    columns = {}  # points whose labels would touch share a column
    for index, (px, py) in sorted(enumerate(places), key=lambda item: item[1]):
        column = next((c for c in columns if abs(c - px) < 26), px)
        columns.setdefault(column, []).append((py, px, index))
    for points in columns.values():
        points.sort()
        right = max(px for _, px, _ in points) + 16
        for (py, px, index), ty in zip(points, svg.spread([p[0] for p in points], 13)):
            canvas.line(px + 5, py, right - 2, ty, stroke='#aaaaaa', stroke_width=0.7)
            canvas.text(right, ty + 4, str(index + 1), size=11, fill=LIBRARIES[0][2])
    canvas.text(key_x, top + 4, 'B, S, H, K', size=12, font_weight='bold')
    for index, row in enumerate(rows):
        canvas.text(key_x + 20, top + 24 + 17 * index, str(index + 1), size=11, anchor='end',
                    fill=LIBRARIES[0][2])
        canvas.text(key_x + 28, top + 24 + 17 * index, figures.label(row), size=11)


def roofline(data):
    rows = figures.timed(data)
    numbered = len(rows) <= MOST_NUMBERED
    height = max(600, 130 + 17 * len(rows)) if numbered else 600
    canvas = svg.Canvas(1000 if numbered else 860, height, f'Roofline, {data["device"]}')
    same_run = data.get('matmul_source') == 'measured'
    heading(canvas, data, 'Roofline', 'Roofs measured in the same run.' if same_run else '')
    box = (76, 104, 790, height - 60)
    libraries = libraries_of(rows)
    legend(canvas, box[0], 80, libraries, hollow=True)
    x, y = axes_of(data, rows, libraries, box)
    draw_axes(canvas, x, y)
    draw_roofs(canvas, data, x, y)
    places = draw_points(canvas, rows, libraries, x, y, 5 if numbered else 3.5)
    if numbered:
        draw_numbers(canvas, rows, places, box[1], 810)
    return canvas


# --------------------------------------------------------------------------------- fraction of the limit


def bars_of(row, libraries):
    """(library, colour, fraction or None): Lathe always, a peer where it was measured."""
    bars = [(name, colour, figures.fraction(row, key)) for name, key, colour in libraries]
    return [bar for index, bar in enumerate(bars) if index == 0 or bar[2]]


def draw_value(canvas, left, length, y, value):
    """In the bar at its end, beside it if it is short."""
    text = f'{value:.2f}' if value else 'no limit'
    if length > 40:
        canvas.text(left + length - 4, y, text, size=9, anchor='end', fill='#ffffff')
    else:
        canvas.text(left + length + 4, y, text, size=9, fill=svg.FAINT)


def limit_chart(data):
    rows = figures.timed(data)
    libraries = libraries_of(rows)
    bar, gap, left, right, top = 10, 9, 190, 880, 116
    heights = [bar * len(bars_of(row, libraries)) + gap for row in rows]
    bottom = top + sum(heights)
    longest = max([1] + [f for row in rows for _, _, f in bars_of(row, libraries) if f])
    scale = (right - left) / (1.05 * longest)
    canvas = svg.Canvas(920, bottom + 60, f'Fraction of the limit, {data["device"]}')
    heading(canvas, data, 'How much of the limit each row reaches', 'Longer is better; 1 is the limit.')
    x = legend(canvas, left, 80, libraries, hollow=False)
    if any(figures.fraction(row, 'target_us') for row in rows):
        canvas.line(x + 4, 69, x + 4, 83, stroke_width=2.5)
        canvas.text(x + 12, 80, 'target')
    for step in range(0, int(longest * 5 + 1e-9) + 1):
        px = left + scale * step / 5
        canvas.line(px, top - 4, px, bottom, stroke=svg.INK if step in (0, 5) else svg.GRID)
        canvas.text(px, top - 10, f'{step / 5:g}', anchor='middle')
        canvas.text(px, bottom + 18, f'{step / 5:g}', anchor='middle')
    canvas.text(left - 10, top - 10, 'B, S, H, K', anchor='end', font_weight='bold')
    y = top
    for row, height in zip(rows, heights):
        canvas.text(left - 10, y + (height - gap) / 2 + 4, figures.label(row), anchor='end')
        for name, colour, value in bars_of(row, libraries):
            canvas.rect(left, y + 0.5, scale * (value or 0), bar - 1, class_='bar', data_library=name,
                        data_row=row['row'], fill=colour,
                        note=f'{name}, {name_of(row)}: ' + (f'{value:.2f}' if value else 'no limit'))
            draw_value(canvas, left, scale * (value or 0), y + bar - 1.5, value)
            y += bar
        target = figures.fraction(row, 'target_us')
        if target:
            canvas.line(left + scale * target, y - (height - gap) - 1, left + scale * target, y + 1,
                        stroke_width=2.5, class_='target', note=f'target, {name_of(row)}: {target:.2f}')
        y += gap
    canvas.text((left + right) / 2, bottom + 42, 'limit / time: the larger of streaming the bytes and computing '
                'the FLOPs, over the time of the whole call', anchor='middle')
    return canvas


def main(argv):
    if len(argv) not in (2, 3) or argv[1].startswith('-'):
        sys.exit(__doc__)
    data = figures.load(argv[1])
    if not figures.timed(data):
        sys.exit(f'{argv[1]}: no row was timed')
    prefix = argv[2] if len(argv) == 3 else str(Path(argv[1]).with_suffix(''))
    for name, draw in (('roofline', roofline), ('limit', limit_chart)):
        Path(f'{prefix}-{name}.svg').write_text(str(draw(data)), encoding='utf-8')


if __name__ == '__main__':
    main(sys.argv)
