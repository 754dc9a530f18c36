# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""generate.py does what its help says, and what it writes is fit to be embedded.

    test_generate.py CC...       a C compiler
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(ROOT / 'codegen')]
sys.dont_write_bytecode = True
import render  # noqa: E402
import schema  # noqa: E402
import tap  # noqa: E402
import tile  # noqa: E402

LINE = re.compile(r'#line (\d+) "([^"]*)"$')


def generate(*args, cwd=None, **env):
    return subprocess.run([sys.executable, '-B', ROOT / 'codegen/generate.py', *map(str, args)], cwd=cwd,
                          env=dict(os.environ, **env), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob('*') if path.is_file()}


def writing(work):
    one, two = work / 'one', work / 'two'
    tap.check(generate('--out', one, PYTHONHASHSEED='1').returncode == 0, 'it writes')
    generate('--out', two, cwd='/', PYTHONHASHSEED='2', TZ='Asia/Tokyo', LC_ALL='C')
    texts = files(one)
    tap.check(texts == files(two), 'the same bytes from another folder, time zone, locale and hash seed')
    wanted = generate('--outputs').stdout.split()
    tap.check(sorted(texts) == [f'lathe/generated/{name}' for name in wanted], '--outputs names the files',
              wanted)
    told = [name for name, text in texts.items() if str(ROOT) in text or str(work) in text]
    tap.check(not told, 'no absolute path in them', told)
    heads = [name for name, text in texts.items() if 'SPDX-License-Identifier: MIT' not in text[:300]]
    tap.check(not heads, 'each says its licence', heads)
    untold = [name for name, text in texts.items()
              if not name.endswith('.body.cuh') and 'do not edit' not in text[:400]]
    tap.check(not untold, 'each says that it is generated', untold)

    tap.check(generate('--out', one, '--check').returncode == 0, '--check finds no difference')
    times = {path: path.stat().st_mtime_ns for path in one.rglob('*.*')}
    generate('--out', one)
    tap.check(all(path.stat().st_mtime_ns == time for path, time in times.items()),
              'what has not changed is not written')
    changed = one / 'lathe/generated/variants.cuh'
    changed.write_text(changed.read_text().replace('LATHE_P_TOKENS 64', 'LATHE_P_TOKENS 65', 1))
    (one / 'lathe/generated/sources.h').unlink()
    result = generate('--out', one, '--check')
    tap.check(result.returncode == 1 and '-#define LATHE_P_TOKENS 65' in result.stdout and
              'sources.h' in result.stdout, '--check prints what differs and what is missing', result.stdout[:2000])
    tap.check(not (one / 'lathe/generated/sources.h').exists(), 'and writes nothing')
    generate('--out', one)
    tap.check(files(one) == texts, 'writing mends it')
    return texts


def asking():
    catalog = schema.load(ROOT / 'codegen/variants.toml')
    names = generate('--list').stdout.split()
    tap.check(names == sorted({v.name for v in catalog.variants(tile.SHARED_LIMIT)}) and names,
              f'--list names {len(names)} variants, sorted')
    shown = generate('--show', names[0]).stdout
    first = catalog.variants(tile.SHARED_LIMIT)[0]
    tap.check(shown == render.params(first) + render.body(first.family), '--show prints the whole text')
    result = generate('--show', 'decode_sm80_bf16_bf16_l1r1')
    tap.check(result.returncode == 1 and '--list' in result.stderr, '--show refuses an unknown name')
    result = generate('--docs', '--check')
    tap.check(result.returncode == 0, 'docs/ is what --docs writes', result.stdout + result.stderr)
    result = generate()
    tap.check(result.returncode == 2 and '--out' in result.stderr, 'without a command it says which there are')


def refusing(work):
    wrong = work / 'wrong.toml'
    wrong.write_text((ROOT / 'codegen/variants.toml').read_text().replace('l = 512', 'l = 511', 1))
    result = generate(wrong, '--out', work / 'none')
    tap.check(result.returncode == 1 and 'wrong.toml: variant 1' in result.stderr and 'l = 511' in result.stderr
              and not (work / 'none').exists(), 'a wrong list is refused and nothing written', result.stderr)
    result = generate('--out', work / 'none', '--cubins', '--archs', 'sm_75', '--nvrtc', '/dev/null')
    tap.check(result.returncode == 1 and ('sm_75' in result.stderr or 'NVRTC' in result.stderr),
              'an unknown architecture, a file that is no NVRTC', result.stderr)


def bodies(texts):
    """The text of every family, line by line against the templates that #line says it comes from."""
    for name, text in texts.items():
        if not name.endswith('.body.cuh'):
            continue
        name = name.split('/')[-1]
        lines = text.splitlines()
        tap.check(not re.search(r'^\s*#\s*(include|define)', text, re.M), f'{name}: no #include, no #define')
        tap.check('{{' not in text and '{%' not in text, f'{name}: nothing of Jinja is left')
        tap.check(LINE.match(lines[0]), f'{name}: starts with #line')
        wrong, file, number = [], None, 0
        for line in lines:
            match = LINE.match(line)
            if match:
                file, number = (ROOT / match[2]).read_text().splitlines(), int(match[1])
                continue
            origin = file[number - 1]
            if line != origin and '{{' not in origin:
                wrong.append(f'{number}: {line!r} is not {origin!r}')
            number += 1
        tap.check(not wrong, f'{name}: every line is where #line says', '\n'.join(wrong[:5]))


def sources(texts, compiler, work):
    text = texts['lathe/generated/sources.h']
    longest = max(map(len, re.findall(r'"(?:[^"\\]|\\.)*"', text)))
    tap.check(longest <= 4095, f'sources.h: no literal over 4095 characters, the longest has {longest}')
    # unescaped by Python's rules, which are C's for what stands here
    parts = [tuple(eval(s) for s in re.findall(r'^    ("(?:[^"\\]|\\.)*"),$', part, re.M))
             for part in re.findall(r'lathep_source_\d+\[\] = \{\n(.*?)^\};', text, re.M | re.S)]
    tap.check(len(parts) == len(set(parts)) and len(parts) > 5, f'sources.h: {len(parts)} parts, none twice')
    for family, indices in re.findall(r'lathep_parts_of_(\w+)\[\] = \{([\d, ]+)\};', text):
        joined = ''.join(''.join(parts[int(i)]) for i in indices.split(','))
        tap.check(joined == texts[f'lathe/generated/{family}.body.cuh'], f'sources.h: {family} joined is its body')
    source = work / 'sources.c'
    source.write_text('typedef struct lathep_source_part {\n  const char *const *lines;\n  unsigned num_lines;\n'
                      '} lathep_source_part;\ntypedef struct lathep_family_source {\n  const char *family;\n'
                      '  const unsigned short *parts;\n  unsigned num_parts;\n} lathep_family_source;\n'
                      '#include <lathe/generated/sources.h>\nint main(void) {\n  return lathep_num_family_sources == 0 '
                      '|| !lathep_family_sources[0].parts || !lathep_source_parts[0].lines;\n}\n')
    flags = ['-Wall', '-Wextra', '-Wpedantic', '-Werror', f'-I{work}/one', source, '-o', work / 'sources']
    if tap.run('sources.h compiles as C11', [*compiler, '-std=c11', *flags]) is not None:
        tap.run('and is there', [work / 'sources'])


def main():
    with tempfile.TemporaryDirectory(prefix='lathe-generate-') as folder:
        work = Path(folder)
        texts = writing(work)
        asking()
        refusing(work)
        bodies(texts)
        sources(texts, sys.argv[1:] or ['cc'], work)
    tap.done()


if __name__ == '__main__':
    main()
