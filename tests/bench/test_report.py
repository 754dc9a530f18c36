# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""What is made of a benchmark's report: the JSON, the charts, the tables of the README. No GPU.

    test_report.py BENCH SAMPLE DOCS      the programs; docs/benchmarks
"""
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
sys.dont_write_bytecode = True
import figures  # noqa: E402
import plot  # noqa: E402
import svg  # noqa: E402
import tap  # noqa: E402

TOP = ['command', 'lathe', 'device', 'num_sms', 'driver', 'driver_name', 'nvrtc', 'max_sm_mhz', 'q_dtype',
       'kv_dtype', 'kernel_asked_for', 'compared', 'peers', 'empty_kernel_us', 'matmul_tflops', 'matmul_source',
       'streaming', 'time_over_limit', 'seconds', 'rows']
ROW = ['row', 'batch', 'q_len', 'num_heads', 'kv_min', 'kv_max', 'causal', 'page_size', 'correct', 'kernel',
       'graph_us', 'single_us', 'sustained_us', 'stream_us', 'limit_us', 'fraction', 'bytes', 'flops', 'tbs',
       'tflops', 'sm_mhz', 'reference']


def marks(root, name):
    return [element for element in root.iter() if element.get('class') == name]


def outside(root):
    """Shapes that leave the picture."""
    width, height = float(root.get('width')), float(root.get('height'))
    bad = []
    for element in root.iter():
        for key, most in (('x', width), ('x1', width), ('x2', width), ('cx', width), ('y', height),
                          ('y1', height), ('y2', height), ('cy', height)):
            value = element.get(key)
            if value is not None and not 0 <= float(value) <= most:
                bad.append(f'{element.tag} {key}={value}')
    return bad


def check_charts(what, data):
    rows = figures.timed(data)
    libraries = plot.libraries_of(rows)
    roots = {}
    for name, draw in (('limit', plot.limit_chart), ('roofline', plot.roofline)):
        text = str(draw(data))
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            tap.check(False, f'{what}: {name} is well-formed', f'{error}\n{text}')
            return
        roots[name] = root
        tap.check(not outside(root), f'{what}: {name} is well-formed and inside its frame', outside(root))
        tap.check(str(draw(data)) == text, f'{what}: {name} is drawn the same again')

    bars = {(bar.get('data-row'), bar.get('data-library')) for bar in marks(roots['limit'], 'bar')}
    points = {(p.get('data-row'), p.get('data-library')) for p in marks(roots['roofline'], 'point')}
    want = {(row['row'], name) for row in rows for name, key, _ in libraries if figures.time_of(row, key)}
    barred = {(row['row'], name) for row in rows for name, key, _ in libraries
              if key is None or figures.fraction(row, key)}
    tap.check(bars == barred and len(marks(roots['limit'], 'bar')) == len(barred),
              f'{what}: a bar for each row, and for each peer whose limit is known', sorted(bars ^ barred))
    tap.check(points == want, f'{what}: a point for each row of each library', sorted(points ^ want))
    lengths = {(bar.get('data-row'), bar.get('data-library')): float(bar.get('width'))
               for bar in marks(roots['limit'], 'bar')}
    fractions = {(row['row'], name): figures.fraction(row, key) or 0 for row in rows
                 for name, key, _ in libraries if figures.time_of(row, key)}
    scale = max(lengths.values()) / (max(fractions.values()) or 1)
    wrong = [key for key in barred if abs(lengths[key] - scale * fractions[key]) > 0.2]
    tap.check(not wrong, f'{what}: bars are as long as the fractions say', wrong)
    targets = sum(1 for row in rows if figures.fraction(row, 'target_us'))
    tap.check(len(marks(roots['limit'], 'target')) == targets, f'{what}: a tick for each target')
    roofs = 2 if data['matmul_tflops'] else 1
    tap.check(len(marks(roots['roofline'], 'roof')) == roofs, f'{what}: {roofs} roofs')


def sample(program, folder, *options):
    path = Path(folder) / 'sample.json'
    subprocess.run([program, '--json', str(path), *options], check=True, stdout=subprocess.PIPE)
    return figures.load(path)


def check_json(data):
    rows = data['rows']
    tap.check(all(key in data for key in TOP), 'the JSON has every field', [k for k in TOP if k not in data])
    missing = [f'{row["row"]}: {key}' for row in figures.timed(data) for key in ROW if key not in row]
    tap.check(not missing, 'its rows have every field', missing)
    tap.check(data['command'] == 'bench', 'the command line is without paths', data['command'])
    tap.check(rows[-2]['correct'] is None and rows[-2]['skipped'] == 'a "sample" of a reason',
              'a skipped row says why', json.dumps(rows[-2]))
    tap.check(rows[-1]['correct'] is False and rows[-1]['wrong'] == 'a sample of a mistake',
              'a wrong row says why', json.dumps(rows[-1]))
    tap.check(len(figures.timed(data)) == len(rows) - 2, 'neither counts as timed')
    wrong = []
    for entry in data['time_over_limit']:
        keys = dict(figures.PEERS, target='target_us')
        count, lathe, other = figures.mean_over_limit(rows[:-2], keys[entry['peer']])
        if count != entry['rows'] or abs(lathe - entry['lathe']) > 2e-3 or abs(other - entry['other']) > 2e-3:
            wrong.append(f'{entry} and {count}, {lathe}, {other}')
    tap.check(len(data['time_over_limit']) == 4 and not wrong, 'its means are those of its rows', wrong)
    off = [row['row'] for row in figures.timed(data) if abs(row['fraction'] - figures.fraction(row)) > 2e-3]
    tap.check(not off, 'its fractions are limit over time', off)


def check_schedule(derived, scheduled):
    """Where runs of a schedule were timed too, all that compares goes by those."""
    fields = ['scheduled_graph_us', 'scheduled_single_us', 'schedule_us']
    rows, others = figures.timed(scheduled), figures.timed(derived)
    tap.check(scheduled['compared'] == 'scheduled' and derived['compared'] == 'derived', 'the JSON says what is compared')
    tap.check(all(key in row for row in rows for key in fields) and not any(key in row for row in others for key in fields),
              'scheduled runs have fields of their own')
    tap.check(all(row[key] == other[key] for row, other in zip(rows, others) for key in ('graph_us', 'single_us')),
              'beside those of the others')
    off = [row['row'] for row in rows
           if abs(figures.best(row) - row['scheduled_graph_us']) > 0 or abs(row['fraction'] - figures.fraction(row)) > 2e-3]
    tap.check(not off and all(a['lathe'] < b['lathe'] for a, b in zip(scheduled['time_over_limit'],
                                                                     derived['time_over_limit'])),
              'fractions and means are of the scheduled runs', off)


def without_compute(data):
    data = json.loads(json.dumps(data))
    data['matmul_tflops'], data['matmul_source'] = None, 'none'
    for row in figures.timed(data):
        row['limit_us'] = row['fraction'] = None
    return data


def check_append(name, data):
    off = [row for row in data['rows'] if not row['correct'] or
           abs(row['speed_of_copy'] - min(row['copy_graph_us'], row['copy_single_us']) / figures.best(row)) > 3e-3 or
           abs(row['over_empty_us'] - (figures.best(row) - data['empty_kernel_us'])) > 0.011]
    tap.check(data['rows'] and not off, f'{name}: every row is right, its ratios are those of its times', off)
    lines = figures.append_table(data).splitlines()
    tap.check(len(lines) == 2 + len(data['rows']) and len({line.count('|') for line in lines}) == 1,
              f'{name}: its table has a line for each row', lines)


def main(bench, program, docs):
    with tempfile.TemporaryDirectory() as folder:
        data = sample(program, folder)
        grid = sample(program, folder, '--grid')
        scheduled = sample(program, folder, '--schedule')
    check_json(data)
    check_charts('sample', data)
    check_charts('grid', grid)
    check_charts('scheduled', scheduled)
    check_schedule(data, scheduled)
    check_charts('no compute ceiling', without_compute(data))
    for path in sorted(docs.glob('*.json')):
        kept = figures.load(path)
        if kept['command'].startswith('bench_append'):
            check_append(path.name, kept)
        else:
            check_charts(path.name, kept)
    readme = docs / 'README.md'
    tap.check(figures.remake(readme) == readme.read_text(encoding='utf-8'),
              'the tables of docs/benchmarks are as made from the JSON',
              'run: python3 tests/bench/figures.py --write docs/benchmarks/README.md')
    shown = {match[2] for match in figures.SECTION.finditer(readme.read_text(encoding='utf-8'))}
    kept = {path.name for path in docs.glob('*.json')}
    tap.check(shown <= kept and shown, 'each has its JSON', shown - kept)

    places = svg.spread([0, 1, 2, 50, 51, 100], 10)
    gaps = [b - a for a, b in zip(places, places[1:])]
    tap.check(min(gaps) > 9.99 and abs(places[-1] - 100) < 1e-9 and abs(sum(places[:3]) - 3) < 1e-9,
              'labels are moved apart, and no further than they must', places)

    listed = tap.run('bench --list needs no GPU', [bench, '--list'])
    tap.check(listed and listed.split() == [row['row'] for row in data['rows']], 'and prints the rows', listed)
    tap.run('nor does bench --help', [bench, '--help'])
    refused = subprocess.run([bench, '--rows', '1,1'], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    tap.check(refused.returncode == 2 and b'--rows 1,1' in refused.stderr, 'a bad option is named, exit 2')
    tap.done()


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
