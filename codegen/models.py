# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Reads models.toml and refuses what is wrong in it, naming model, field, value and what would do."""

import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from schema import SchemaError

PATH = Path(__file__).with_name("models.toml")
HEADER = Path(__file__).resolve().parent.parent / "include/lathe/lathe.h"
PAIRINGS = ("none", "interleaved", "half_split", "unknown")
DIMS = {"num_heads": 1, "kv_lora_rank": 1, "qk_nope_head_dim": 1, "qk_rope_head_dim": 0, "v_head_dim": 1}  # the least
YARN = ("yarn_factor", "yarn_mscale_all_dim")
UNSEEN = (*DIMS, "pairing", "yarn")
FIELD = re.compile(r"lathe_(decode|append|merge)_(desc|args)\.(\w+)")


@dataclass(frozen=True)
class Option:
    name: str
    what: str
    without: str
    field: str  # of lathe.h; empty: Lathe does not have it


@dataclass(frozen=True)
class Model:
    name: str
    title: str
    num_heads: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    pairing: str
    rope_in_latent: int
    yarn_factor: float  # 0: none
    yarn_mscale_all_dim: float
    needs: dict
    missing: tuple  # names of what it needs and Lathe does not have
    unseen: tuple
    note: str

    @property
    def softmax_scale(self):
        m = 0.1 * self.yarn_mscale_all_dim * math.log(self.yarn_factor) + 1 if self.yarn_factor else 1
        return m * m / math.sqrt(self.qk_nope_head_dim + self.qk_rope_head_dim)

    def heads(self, tp):
        """Heads of a rank; 0: they do not divide."""
        return 0 if self.num_heads % tp else self.num_heads // tp


@dataclass(frozen=True)
class Models:
    options: tuple
    models: tuple


def _fields(where, table, required, optional=()):
    for key in table:
        if key not in required and key not in optional:
            raise SchemaError(f"{where}: unknown field {key!r}; known are {', '.join((*required, *optional))}")
    for key in required:
        if key not in table:
            raise SchemaError(f"{where}: field {key!r} is missing")


def _integer(where, field, value, least):
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SchemaError(f"{where}: {field} = {value!r}; give an integer, {least} or more")


def _text(where, field, value):
    if not isinstance(value, str) or not value.strip() or "|" in value or "\n" in value:
        raise SchemaError(f"{where}: {field} = {value!r}; give a line of words, without |")


def _option(i, table, header):
    where = f"option {i} ({table.get('name', 'no name')!r})"
    _fields(where, table, ("name", "what", "without"), ("field",))
    for field, value in table.items():
        _text(where, field, value)
    name, field = table["name"], table.get("field", "")
    if not field and re.search(rf"^ +\w[\w *]*\b{re.escape(name)};", header, re.M):
        raise SchemaError(f"{where}: lathe.h has a field of that name now; give field, and have the runs of the "
                          "models set it")
    if field:
        match = FIELD.fullmatch(field)
        if not match or not re.search(rf"\b{match[3]};", header):
            raise SchemaError(f"{where}: field = {field!r}; give one of lathe.h, as lathe_decode_desc.mask, or leave "
                              "it out")
    return Option(name, table["what"], table["without"], field)


def _needs(where, needs, options):
    if not isinstance(needs, dict):
        raise SchemaError(f"{where}: needs = {needs!r}; give a table, as {{ sinks = true }}")
    for option, value in needs.items():
        if option not in options:
            raise SchemaError(f"{where}: needs {option!r}; known are {', '.join(options)}")
        if value is not True and value != "?" and (isinstance(value, (str, bool)) or not value > 0):
            raise SchemaError(f"{where}: needs {option} = {value!r}; give a number above 0, true or \"?\"")


def _rope(where, table):
    if table["pairing"] not in PAIRINGS:
        raise SchemaError(f"{where}: pairing = {table['pairing']!r}; give one of {', '.join(PAIRINGS)}")
    inside, rope = table.get("rope_in_latent", 0), table["qk_rope_head_dim"]
    _integer(where, "rope_in_latent", inside, 0)
    if inside and (rope or inside > table["kv_lora_rank"]):
        raise SchemaError(f"{where}: rope_in_latent = {inside} with qk_rope_head_dim = {rope}; give 0, or "
                          "kv_lora_rank at most where there is no other rope")
    for field, value in (("qk_rope_head_dim", rope), ("rope_in_latent", inside)):
        if table["pairing"] != "none" and value % 2:
            raise SchemaError(f"{where}: {field} = {value}; give an even number, since rope rotates pairs")
    if table["pairing"] != "none" and not rope and not inside:
        raise SchemaError(f"{where}: pairing = {table['pairing']!r} and nothing is rotated; give none")


def _yarn(where, table):
    given = [field for field in YARN if field in table]
    if len(given) == 1:
        raise SchemaError(f"{where}: {given[0]} without the other; give both of {', '.join(YARN)}, or neither")
    for field, above in zip(YARN, (1, 0)):
        value = table.get(field, above + 1)
        if isinstance(value, (bool, str)) or not above < value < math.inf:
            raise SchemaError(f"{where}: {field} = {value!r}; give a number above {above}, or leave both out")


def _model(i, table, options):
    where = f"model {i} ({table.get('name', 'no name')!r})"
    _fields(where, table, ("name", "title", *DIMS, "pairing"), ("rope_in_latent", *YARN, "needs", "unseen", "note"))
    if not isinstance(table["name"], str) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", table["name"]):
        raise SchemaError(f"{where}: name = {table['name']!r}; give lower-case letters, digits, - and .")
    for field in ("title", "note"):
        if field in table:
            _text(where, field, table[field])
    for field, least in DIMS.items():
        _integer(where, field, table[field], least)
    _rope(where, table)
    _yarn(where, table)
    _needs(where, table.get("needs", {}), options)
    unseen = table.get("unseen", [])
    if not isinstance(unseen, list):
        raise SchemaError(f"{where}: unseen = {unseen!r}; give a list")
    for field in unseen:
        if field not in UNSEEN:
            raise SchemaError(f"{where}: unseen has {field!r}; known are {', '.join(UNSEEN)}")
        if unseen.count(field) > 1:
            raise SchemaError(f"{where}: unseen has {field!r} twice; remove one")
    needs = table.get("needs", {})
    return Model(table["name"], table["title"], *(table[field] for field in DIMS), table["pairing"],
                 table.get("rope_in_latent", 0), *(float(table.get(field, 0)) for field in YARN), needs,
                 tuple(name for name in needs if not options[name].field), tuple(unseen), table.get("note", ""))


def parse(text, header=None):
    """`header`: the text of lathe.h, if not that of the tree."""
    if header is None:
        header = HEADER.read_text(encoding="utf-8")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"not TOML: {error}") from error
    _fields("the file", data, ("option", "model"))
    for field, tables in data.items():
        if not isinstance(tables, list):
            raise SchemaError(f"the file: {field} is one table; write [[{field}]] above each")
    options, models, used = {}, {}, set()
    for i, table in enumerate(data["option"], 1):
        option = _option(i, table, header)
        if option.name in options:
            raise SchemaError(f"option {i}: {option.name} stands twice; remove one")
        options[option.name] = option
    for i, table in enumerate(data["model"], 1):
        model = _model(i, table, options)
        if model.name in models:
            raise SchemaError(f"model {i}: {model.name} stands twice; remove one")
        models[model.name] = model
        used |= set(model.needs)
    for name in options:
        if name not in used:
            raise SchemaError(f"option {name!r}: no model needs it; remove it")
    return Models(tuple(options.values()), tuple(models.values()))


def load(path=PATH):
    try:
        return parse(path.read_text(encoding="utf-8"))
    except SchemaError as error:
        raise SchemaError(f"{path.name}: {error}") from error
