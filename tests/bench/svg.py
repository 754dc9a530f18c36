# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Just enough SVG for two charts: the same calls give the same bytes, and nothing has to be installed."""
import math
from xml.sax.saxutils import escape, quoteattr

INK, FAINT, GRID = '#222222', '#666666', '#e2e2e2'
FONT = 'font-family:Helvetica,Arial,sans-serif'


class Canvas:
    def __init__(self, width, height, title):
        self.width, self.height = width, height
        self.parts = [f'<title>{escape(title)}</title>']
        self.rect(0, 0, width, height, fill='#ffffff')

    @staticmethod
    def _attributes(attributes):
        """class_='x' is class="x", stroke_width=2 is stroke-width="2"."""
        return ''.join(f' {name.rstrip("_").replace("_", "-")}={quoteattr(str(value))}'
                       for name, value in attributes.items() if value is not None)

    def _add(self, tag, note, attributes):
        inner = f'<title>{escape(note)}</title>' if note else ''
        self.parts.append(f'<{tag}{self._attributes(attributes)}>{inner}</{tag}>')

    def rect(self, x, y, width, height, note=None, **attributes):
        self._add('rect', note, dict(x=f'{x:.1f}', y=f'{y:.1f}', width=f'{width:.1f}',
                                     height=f'{height:.1f}', **attributes))

    def line(self, x1, y1, x2, y2, note=None, stroke=INK, stroke_width=1, **attributes):
        self._add('line', note, dict(x1=f'{x1:.1f}', y1=f'{y1:.1f}', x2=f'{x2:.1f}', y2=f'{y2:.1f}',
                                     stroke=stroke, stroke_width=stroke_width, **attributes))

    def circle(self, x, y, radius, note=None, **attributes):
        self._add('circle', note, dict(cx=f'{x:.1f}', cy=f'{y:.1f}', r=radius, **attributes))

    def text(self, x, y, text, size=12, anchor='start', fill=INK, **attributes):
        rest = self._attributes(dict(font_size=size, text_anchor=anchor, fill=fill, **attributes))
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{rest}>{escape(text)}</text>')

    def __str__(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:.0f}" height="{self.height:.0f}" '
                f'viewBox="0 0 {self.width:.0f} {self.height:.0f}" style="{FONT}">\n' +
                '\n'.join(self.parts) + '\n</svg>\n')


class LogAxis:
    """Values low to high onto start to end."""

    def __init__(self, low, high, start, end):
        self.low, self.high, self.start, self.end = low, high, start, end

    def at(self, value):
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + (self.end - self.start) * share

    def ticks(self, steps):
        """Powers of ten times each of `steps`, or powers of two where steps is 2."""
        if steps == 2:
            candidates = [2.0 ** n for n in range(-20, 40)]
        else:
            candidates = [step * 10.0 ** n for n in range(-6, 9) for step in steps]
        slack = 1 + 1e-9
        return sorted(c for c in candidates if self.low / slack <= c <= self.high * slack)


def spread(wanted, least):
    """Positions near the wanted ones, which are sorted, and at least so far apart: the nearest in the sense
    of least squares (pools of neighbours that touch share their mean)."""
    pools = []  # [sum of wanted minus offsets, count]
    for index, value in enumerate(wanted):
        pools.append([value - index * least, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    places = [total / count for total, count in pools for _ in range(count)]
    return [place + index * least for index, place in enumerate(places)]
