# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""A wrong variants.toml is refused, and the message names the row, the field, the value and what would do."""
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / 'codegen')]
sys.dont_write_bytecode = True
import schema  # noqa: E402
import tap  # noqa: E402

DECODE = 'op = "decode"\narch = "sm80"\nq = "bf16"\nkv = "bf16"\nout = "bf16"\n'
MERGE = 'op = "merge"\narch = "sm80"\nout = "bf16"\n'
ROW = 'families = ["decode_sm80_bf16_bf16"]\nl = 512\nr = 64\nrows = [16]\nwhy = "A model"\n'
MERGE_ROW = 'families = ["merge_sm80_bf16"]\nl = 512\nwhy = "its parts"\n'
SCHEDULE = 'op = "schedule"\narch = "sm80"\n'
SCHEDULE_ROW = 'families = ["schedule_sm80"]\ntokens = [32, 64]\nwhy = "its schedule"\n'
SCHEDULES = ['schedule_sm80_t32', 'schedule_sm80_t64']


HOPPER = DECODE.replace('sm80', 'sm90a')
HOPPER_ROW = ROW.replace('sm80', 'sm90a').replace('[16]', '[64]')


def toml(families=(DECODE, MERGE), rows=(ROW, MERGE_ROW), schedule=SCHEDULE_ROW):
    """`schedule`, a row, comes last, so that the others keep their numbers."""
    families, rows = (*families, SCHEDULE), (*rows, *([schedule] if schedule else []))
    return ''.join(f'[[family]]\n{f}' for f in families) + ''.join(f'[[variant]]\n{r}' for r in rows)


def with_family(old, new, family=DECODE):
    return toml((family.replace(old, new), MERGE))


def with_row(old, new):
    return toml(rows=(ROW.replace(old, new), MERGE_ROW))


def with_hopper(old='', new='', row=HOPPER_ROW):
    return toml((HOPPER, MERGE), (row.replace(old, new) if old else row, MERGE_ROW))


APPEND = 'op = "append"\narch = "sm80"\nq = "bf16"\nkv = "bf16"\nout = "bf16"\n'
APPEND_ROW = 'families = ["append_sm80_bf16_bf16"]\nl = 512\nr = 64\nwhy = "A model"\n'
JOIN = 'op = "join"\narch = "sm80"\nq = "f32"\nout = "bf16"\n'
JOIN_ROW = 'families = ["join_sm80_f32_obf16"]\nl = 512\nwhy = "ranks"\n'


def with_third(family, row, changes):
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in family or old in row, old
        family, row = family.replace(old, new), row.replace(old, new)
    return toml((DECODE, MERGE, family), (ROW, MERGE_ROW, row))


def with_append(*changes):
    return with_third(APPEND, APPEND_ROW, changes)


def with_join(*changes):
    return with_third(JOIN, JOIN_ROW, changes)


# what is wrong, the text, what the message has to name
REFUSED = [
    ('not TOML', 'family = [', ('not TOML',)),
    ('no families', '[[variant]]\n' + ROW, ("field 'family' is missing",)),
    ('one table for a list', '[family]\n' + DECODE + '[[variant]]\n' + ROW, ('[[family]]',)),
    ('unknown table', toml() + '[[kernel]]\nl = 1\n', ("unknown field 'kernel'", 'family, variant')),
    ('unknown field of a family', with_family('kv =', 'format ='), ('family 1', "'format'", 'kv')),
    ('unknown operation', with_family('"decode"', '"prefill"'), ('family 1', "op = 'prefill'", ', '.join(schema.OPS))),
    ('unknown policy', with_family('"sm80"', '"sm75"'), ('family 1', "arch = 'sm75'", 'sm80, sm90, sm90a')),
    ('a policy of decode for a merge', toml((DECODE, MERGE.replace('sm80', 'sm90'))),
     ('family 2', "arch = 'sm90'", 'sm80')),
    ('an e4m3 cache on Hopper', with_family('kv = "bf16"', 'kv = "e4m3"', HOPPER),
     ('family 1', "kv = 'e4m3'", 'bf16')),
    ('unknown query type', with_family('q = "bf16"', 'q = "f32"'), ('family 1', "q = 'f32'", 'bf16, f16')),
    ('cache of another type', with_family('kv = "bf16"', 'kv = "f16"'), ('family 1', "kv = 'f16'", 'bf16, e4m3')),
    ('unknown output type', with_family('out = "bf16"', 'out = "e5m2"'), ('family 1', "out = 'e5m2'", 'bf16, f16, e4m3')),
    ('an e4m3 query beside a wider cache', with_family('q = "bf16"', 'q = "e4m3"'), ('family 1', "kv = 'bf16'", 'e4m3')),
    ('an e4m3 output of Hopper\'s', with_family('out = "bf16"', 'out = "e4m3"', HOPPER), ('family 1', "out = 'e4m3'", 'bf16, f16')),
    ('unknown option', with_row('why', 'options = ["x"]\nwhy'), ('variant 1', "options = 'x'", 'wcsdtr')),
    ('options out of order', with_row('why', 'options = ["cw"]\nwhy'), ('variant 1', "options = 'cw'", 'in this order')),
    ('options of no plan', with_row('why', 'options = ["wi"]\nwhy'), ('variant 1', "options = 'wi'", "'wcsdtr' or of 'csdri'")),
    ('an option that Hopper has not', with_hopper('why', 'options = ["t"]\nwhy'), ('variant 1', 'decode_sm90a_bf16_bf16', "options = 't'", 'wcsd')),
    ('an option that merges do not have', toml(rows=(ROW, MERGE_ROW + 'options = ["w"]\n')), ('variant 2', "options = 'w'", "'sr'")),
    ('a merge that knows of ranks and of nothing to do there', toml(rows=(ROW, MERGE_ROW + 'options = ["r"]\n')), ('variant 2', "options = 'r'", "'sr'")),
    ('no schedule kernel of a window', with_row('why', 'options = ["w"]\nwhy'), ('variant 1', "schedule_sm80 at tokens = 32", "options 'w'")),
    ('no merge kernel of sinks', with_row('why', 'options = ["", "s"]\nwhy'), ('variant 1', "merge_sm80_bf16 at l = 512", "options 's'")),
    ('missing cache type', with_family('kv = "bf16"\n', ''), ('family 1', "'kv' is missing")),
    ('a query for a merge', toml((DECODE, MERGE + 'q = "bf16"\n')), ('family 2', 'q has no meaning')),
    ('an output for a schedule', toml(families=(DECODE, MERGE)).replace(SCHEDULE, SCHEDULE + 'out = "bf16"\n'),
     ('family 3', 'out has no meaning')),
    ('a policy of decode for an append', with_append('sm80', 'sm90'), ('family 3', "arch = 'sm90'", 'sm80')),
    ('a cache of another type for an append', with_append('kv = "bf16"', 'kv = "f16"'),
     ('family 3', "kv = 'f16'", 'bf16, e4m3, row656')),
    ('rows of 656 bytes out of f16', with_append('bf16"\nkv = "bf16"\nout = "bf16', 'f16"\nkv = "row656"\nout = "f16'),
     ('family 3', "kv = 'row656'", 'f16, e4m3')),
    ('a query of e4m3 beside a cache of bf16', with_append('out = "bf16"', 'out = "e4m3"'),
     ('family 3', "out = 'e4m3'", 'bf16')),
    ('an append without a cache', with_append('kv = "bf16"\n', ''), ('family 3', "'kv' is missing")),
    ('tiles of an append', with_append('why', 'rows = [16]\nwhy'), ('variant 3', 'rows has no meaning')),
    ('an append without R', with_append('r = 64\n', ''), ('variant 3', "'r' is missing")),
    ('rows of 656 bytes of other dims', with_append('"bf16"\nout', '"row656"\nout', 'bf16_bf16', 'bf16_row656', 'l = 512', 'l = 256'),
     ('variant 3', 'l = 256', 'append_sm80_bf16_row656')),
    ('a cache for a join', with_join('out =', 'kv = "bf16"\nout ='), ('family 3', 'kv has no meaning')),
    ('a join out of e4m3', with_join('q = "f32"', 'q = "e4m3"'), ('family 3', "q = 'e4m3'", 'bf16, f16, f32')),
    ('R for a join', with_join('why', 'r = 64\nwhy'), ('variant 3', 'r has no meaning')),
    ('a family twice', toml((DECODE, MERGE, DECODE)), ('family 3', 'decode_sm80_bf16_bf16 stands twice')),
    ('unknown field of a row', with_row('why', 'because'), ('variant 1', "'because'", 'why')),
    ('unknown family', with_row('bf16_bf16', 'bf16_e4m3'), ('variant 1', "'decode_sm80_bf16_e4m3'")),
    ('families as a word', with_row('["decode_sm80_bf16_bf16"]', '"decode_sm80_bf16_bf16"'),
     ('variant 1', 'families', 'a list')),
    ('no family', with_row('["decode_sm80_bf16_bf16"]', '[]'), ('variant 1', 'families = []')),
    ('a family of a row twice', with_row('["decode', '["decode_sm80_bf16_bf16", "decode'),
     ('variant 1', 'families', 'twice')),
    ('two operations in a row', with_row('["decode', '["merge_sm80_bf16", "decode'),
     ('variant 1', 'different operations')),
    ('L not a multiple of 16', with_row('l = 512', 'l = 500'), ('variant 1', 'l = 500', 'multiple of 16')),
    ('L zero', with_row('l = 512', 'l = 0'), ('variant 1', 'l = 0', '16 or more')),
    ('L as a word', with_row('l = 512', 'l = "512"'), ('variant 1', "l = '512'")),
    ('L true', with_row('l = 512', 'l = true'), ('variant 1', 'l = True')),
    ('R below zero', with_row('r = 64', 'r = -16'), ('variant 1', 'r = -16', '0 or more')),
    ('R missing', with_row('r = 64\n', ''), ('variant 1', "'r' is missing")),
    ('unknown row tile', with_row('[16]', '[16, 128]'), ('variant 1', 'rows = 128', '16, 32, 64')),
    ('a row tile twice', with_row('[16]', '[16, 16]'), ('variant 1', 'rows', 'twice')),
    ('no row tile', with_row('[16]', '[]'), ('variant 1', 'rows = []')),
    ('row tiles as a number', with_row('[16]', '16'), ('variant 1', 'rows = 16', 'a list')),
    ('no reason', with_row('"A model"', '" "'), ('variant 1', "why = ' '", 'models')),
    ('ptx as a number', with_row('why', 'ptx = 1\nwhy'), ('variant 1', 'ptx = 1', 'true or false')),
    ('dims that fit nowhere', with_row('l = 512', 'l = 2048'), ('variant 1', 'l = 2048', 'bytes')),
    ('R for a merge', toml(rows=(ROW, MERGE_ROW + 'r = 64\n')), ('variant 2', 'r has no meaning')),
    ('a row twice', toml(rows=(ROW, MERGE_ROW, ROW)), ('variant 3', 'is in variant 1 already')),
    ('half a row twice', toml(rows=(ROW, MERGE_ROW, ROW.replace('[16]', '[64, 16]'))),
     ('variant 3', '_m16', 'is in variant 1 already')),
    ('a row tile that Hopper\'s kernel has not', with_hopper('[64]', '[32]'),
     ('variant 1', 'decode_sm90a_bf16_bf16', 'rows = 32', '64')),
    ('L that is no multiple of 64', with_hopper('l = 512', 'l = 528'),
     ('variant 1', 'l = 528', 'decode_sm90a_bf16_bf16', 'multiples of 64, 128 to 512')),
    ('L too small for Hopper\'s kernel', with_hopper('l = 512', 'l = 64'), ('variant 1', 'l = 64', '128 to 512')),
    ('R that Hopper\'s kernel has not', with_hopper('r = 64', 'r = 80'), ('variant 1', 'r = 80', '0, 16, 32, 48, 64, 128')),
    ('dims that fit no ring of Hopper\'s', with_hopper('r = 64', 'r = 128'),
     ('variant 1', 'r = 128', 'decode_sm90a_bf16_bf16', '232448')),
    ('Hopper\'s kernel as PTX', with_hopper('why', 'ptx = true\nwhy'), ('variant 1', 'ptx = True', 'leave ptx out')),
    ('pages that Hopper\'s kernel has not', with_hopper('why', 'pages = [64, 24]\nwhy'),
     ('variant 1', 'decode_sm90a_bf16_bf16', 'pages = 24', '64, 32, 16, 8, 4, 1')),
    ('pages as a number', with_hopper('why', 'pages = 64\nwhy'), ('variant 1', 'pages = 64', 'a list')),
    ('pages twice', with_hopper('why', 'pages = [64, 64]\nwhy'), ('variant 1', 'pages', 'twice')),
    ('no pages', with_hopper('why', 'pages = []\nwhy'), ('variant 1', 'pages = []')),
    ('pages of the portable kernel', with_row('why', 'pages = [64]\nwhy'), ('variant 1', 'pages has no meaning')),
    ('pages of a merge', toml(rows=(ROW, MERGE_ROW + 'pages = [64]\n')), ('variant 2', 'pages has no meaning')),
    ('no merge kernel for Hopper\'s', toml((HOPPER, MERGE), (HOPPER_ROW,)), ('variant 1', 'merge_sm80_bf16')),
    ('no merge kernel', toml(rows=(ROW,)), ('variant 1', 'merge_sm80_bf16', 'l = 512')),
    ('L for a schedule', toml(schedule=SCHEDULE_ROW + 'l = 512\n'), ('variant 3', 'l has no meaning')),
    ('tokens of a decode kernel', with_row('why', 'tokens = [64]\nwhy'), ('variant 1', 'tokens has no meaning')),
    ('no tokens of a schedule', toml(schedule=SCHEDULE_ROW.replace('tokens = [32, 64]\n', '')),
     ('variant 3', "'tokens' is missing")),
    ('tokens that no kernel has', toml(schedule=SCHEDULE_ROW.replace('64', '128')),
     ('variant 3', 'tokens = 128', '16, 32, 64')),
    ('no schedule kernel', toml(schedule=None), ('variant 1', 'schedule_sm80', 'tokens = 32')),
    ('no schedule kernel for such steps', toml(schedule=SCHEDULE_ROW.replace('32, ', '')),
     ('variant 1', 'schedule_sm80', 'tokens = 32')),
    ('no schedule kernel as PTX', toml(rows=(ROW.replace('why', 'ptx = true\nwhy'), MERGE_ROW.replace('why', 'ptx = true\nwhy'))),
     ('variant 1', 'schedule_sm80', 'with ptx')),
    ('no merge kernel as PTX', with_row('why', 'ptx = true\nwhy'), ('variant 1', 'merge_sm80_bf16', 'with ptx')),
]


def main():
    catalog = schema.parse(toml())
    names = [v.name for v in catalog.variants([90])]
    tap.check(names == ['decode_sm80_bf16_bf16_l512r64_m16t32s2x2', 'merge_sm80_bf16_l512', *SCHEDULES],
              'a right one is read', names)
    names = [v.name for v in catalog.variants([80, 86, 90])]
    tap.check(len(names) == 6 and names == sorted(names), 'a tile for each shared-memory limit', names)
    catalog = schema.parse(with_hopper())
    names = [v.name for v in catalog.variants([90])]
    tap.check(names[0] == 'decode_sm90a_bf16_bf16_l512r64_m64t64s2p64', 'one of Hopper is read', names)
    names = [v.name for v in schema.parse(with_hopper('why', 'pages = [8, 32]\nwhy')).variants([90])]
    tap.check([name[-3:] for name in names[:2]] == ['p32', '2p8'], 'pages that are asked for', names)
    names = [v.name for v in catalog.variants([80, 100, 120])]
    tap.check(names == ['merge_sm80_bf16_l512', *SCHEDULES], 'which is for Hopper alone', names)
    names = [v.name for v in schema.parse(with_append()).variants([90])]
    tap.check('append_sm80_bf16_bf16_l512r64' in names, 'an append is read', names)
    names = [v.name for v in schema.parse(with_join()).variants([90])]
    tap.check('join_sm80_f32_obf16_l512' in names, 'a join is read', names)
    for what, text, words in REFUSED:
        try:
            schema.parse(text)
            message = None
        except schema.SchemaError as error:
            message = str(error)
        missing = [word for word in words if message is None or word not in message]
        tap.check(not missing, f'refused: {what}', f'message: {message}\nit lacks: {missing}')
    tap.done()


if __name__ == '__main__':
    main()
