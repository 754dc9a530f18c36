# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""A wrong models.toml is refused, and the message names the row, the field, the value and what would do; of the right
one come docs/models.md and the C table."""
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(ROOT / 'codegen')]
sys.dont_write_bytecode = True
import models  # noqa: E402
import schema  # noqa: E402
import tap  # noqa: E402

OPTION = 'name = "gates"\nwhat = "more"\nwithout = "less"\n'
MODEL = ('name = "a-model"\ntitle = "A model"\nnum_heads = 16\nkv_lora_rank = 512\nqk_nope_head_dim = 128\n'
         'qk_rope_head_dim = 64\nv_head_dim = 128\npairing = "interleaved"\nyarn_factor = 40.0\n'
         'yarn_mscale_all_dim = 1.0\nneeds = { gates = true }\nunseen = ["v_head_dim"]\nnote = "a note"\n')


def toml(model=MODEL, option=OPTION, more=''):
    return '[[option]]\n' + option + '[[model]]\n' + model + more


def with_model(old, new):
    assert old in MODEL
    return toml(MODEL.replace(old, new))


def with_option(old, new):
    assert old in OPTION
    return toml(option=OPTION.replace(old, new))


LATENT = MODEL.replace('qk_rope_head_dim = 64', 'qk_rope_head_dim = 0\nrope_in_latent = 64')

# what is wrong, the text, what the message has to name
REFUSED = [
    ('not TOML', 'model = [', ('not TOML',)),
    ('no options', '[[model]]\n' + MODEL, ("field 'option' is missing",)),
    ('one table for a list', '[[option]]\n' + OPTION + '[model]\n' + MODEL, ('[[model]]',)),
    ('unknown table', toml(more='[[kernel]]\nl = 1\n'), ("unknown field 'kernel'", 'option, model')),
    ('unknown field of a model', with_model('v_head_dim = 128', 'v_dim = 128'), ("model 1 ('a-model')", "'v_dim'")),
    ('a field missing', with_model('num_heads = 16\n', ''), ("model 1 ('a-model')", "'num_heads' is missing")),
    ('name in capitals', with_model('"a-model"', '"A-Model"'), ('model 1', "name = 'A-Model'", 'lower-case')),
    ('name as a number', with_model('"a-model"', '3'), ('model 1', 'name = 3')),
    ('title empty', with_model('"A model"', '" "'), ('model 1', "title = ' '")),
    ('title that breaks the table', with_model('"A model"', '"A | model"'), ('model 1', 'without |')),
    ('note in two lines', with_model('"a note"', '"a\\nnote"'), ('model 1', 'note')),
    ('no heads', with_model('num_heads = 16', 'num_heads = 0'), ('model 1', 'num_heads = 0', '1 or more')),
    ('heads as a word', with_model('num_heads = 16', 'num_heads = "16"'), ('model 1', "num_heads = '16'")),
    ('heads true', with_model('num_heads = 16', 'num_heads = true'), ('model 1', 'num_heads = True')),
    ('rope below zero', with_model('qk_rope_head_dim = 64', 'qk_rope_head_dim = -2'),
     ('model 1', 'qk_rope_head_dim = -2', '0 or more')),
    ('odd rope', with_model('qk_rope_head_dim = 64', 'qk_rope_head_dim = 63'), ('model 1', 'qk_rope_head_dim = 63', 'even')),
    ('unknown pairing', with_model('"interleaved"', '"neox"'), ('model 1', "pairing = 'neox'", 'half_split')),
    ('pairing of nothing', with_model('qk_rope_head_dim = 64', 'qk_rope_head_dim = 0'),
     ('model 1', "pairing = 'interleaved'", 'give none')),
    ('rope in two places', toml(LATENT.replace('head_dim = 0\n', 'head_dim = 64\n')),
     ('model 1', 'rope_in_latent = 64', 'qk_rope_head_dim = 64')),
    ('more rope than latent', toml(LATENT.replace('latent = 64', 'latent = 514')),
     ('model 1', 'rope_in_latent = 514', 'kv_lora_rank')),
    ('rope in the latent odd', toml(LATENT.replace('latent = 64', 'latent = 3')), ('model 1', 'rope_in_latent = 3', 'even')),
    ('half of YaRN', with_model('yarn_factor = 40.0\n', ''), ('model 1', 'yarn_mscale_all_dim without', 'yarn_factor')),
    ('YaRN that does not stretch', with_model('40.0', '1.0'), ('model 1', 'yarn_factor = 1.0', 'above 1')),
    ('YaRN without end', with_model('40.0', 'inf'), ('model 1', 'yarn_factor = inf')),
    ('YaRN as a word', with_model('40.0', '"40"'), ('model 1', "yarn_factor = '40'")),
    ('an mscale of zero', with_model('dim = 1.0', 'dim = 0.0'), ('model 1', 'yarn_mscale_all_dim = 0.0', 'above 0')),
    ('needs as a list', with_model('{ gates = true }', '["gates"]'), ('model 1', 'needs', 'give a table')),
    ('unknown option', with_model('{ gates', '{ alibi'), ('model 1', "'alibi'", 'gates')),
    ('an option of no value', with_model('gates = true', 'gates = false'), ('model 1', 'gates = False')),
    ('an option of zero', with_model('gates = true', 'gates = 0'), ('model 1', 'gates = 0', 'above 0')),
    ('an option as a word', with_model('gates = true', 'gates = "many"'), ('model 1', "gates = 'many'")),
    ('unseen as a word', with_model('["v_head_dim"]', '"v_head_dim"'), ('model 1', 'unseen', 'give a list')),
    ('unseen of no field', with_model('["v_head_dim"]', '["v_dim"]'), ('model 1', "'v_dim'", 'yarn')),
    ('unseen twice', with_model('["v_head_dim"]', '["yarn", "yarn"]'), ('model 1', "'yarn' twice")),
    ('a model twice', toml(more='[[model]]\n' + MODEL), ('model 2', 'a-model stands twice')),
    ('unknown field of an option', with_option('what', 'why'), ("option 1 ('gates')", "'why'")),
    ('an option twice', toml(option=OPTION + '[[option]]\n' + OPTION), ('option 2', 'gates stands twice')),
    ('an option of nobody', toml(option=OPTION + '[[option]]\n' + OPTION.replace('gates', 'alibi')),
     ("option 'alibi'", 'no model needs it')),
    ('a field that lathe.h does not have', toml(option=OPTION + 'field = "lathe_decode_args.gates"\n'),
     ('option 1', 'lathe_decode_args.gates', 'lathe_decode_desc.mask')),
    ('a field of no struct', toml(option=OPTION + 'field = "mask"\n'), ('option 1', "field = 'mask'")),
]
HEADER = 'typedef struct lathe_decode_args {\n  const float *gates; /* [H] */\n  int32_t mask;\n} lathe_decode_args;\n'


def refusal(text, **kwargs):
    try:
        models.parse(text, **kwargs)
    except schema.SchemaError as error:
        return str(error)
    return None


def main():
    listed = models.parse(toml()).models[0]
    tap.check(listed.num_heads == 16 and listed.missing == ('gates',) and listed.heads(4) == 4 and listed.heads(3) == 0,
              'a right one is read', listed)
    tap.check(abs(listed.softmax_scale - 0.135234) < 1e-6, 'with its softmax scale', listed.softmax_scale)
    for what, text, words in REFUSED:
        message = refusal(text)
        missing = [word for word in words if message is None or word not in message]
        tap.check(not missing, f'refused: {what}', f'message: {message}\nit lacks: {missing}')
    message = refusal(toml(), header=HEADER)
    tap.check(message and 'option 1' in message and 'give field' in message,
              'refused: an option that lathe.h has by now', message)
    text = toml(option=OPTION + 'field = "lathe_decode_args.gates"\n')
    tap.check(models.parse(text, header=HEADER).models[0].missing == (), 'which, named, is missing no longer')

    every = models.load()
    docs = (ROOT / 'docs/models.md').read_text()
    absent = [m.name for m in every.models if f'| `{m.name}` |' not in docs]
    tap.check(len(every.models) > 30 and not absent, f'docs/models.md has all {len(every.models)}', absent)
    tap.check(f'lists {len(every.models)} with' in (ROOT / 'README.md').read_text(), 'and the README counts them')
    tap.done()


if __name__ == '__main__':
    main()
