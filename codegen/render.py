# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Templates to text. Rendered kernel source carries #line directives, so that a compiler's message points
into templates/ whichever way the kernel is compiled."""

import re
from pathlib import Path

import jinja2

ROOT = Path(__file__).resolve().parent.parent
SEARCH = (ROOT / "templates", ROOT)
STATEMENT = re.compile(r"\s*(\{%.*%\}|\{#.*#\})\s*$")
LINE = re.compile(r'#line (\d+) "([^"]*)"$')


class Loader(jinja2.BaseLoader):
    """Files of templates/ (or of the repository, for headers that are shared with the host), a #line put at
    their start and after every line that is a Jinja statement and so leaves no line behind."""

    def get_source(self, environment, name):
        for folder in SEARCH:
            path = folder / name
            if path.is_file():
                break
        else:
            raise jinja2.TemplateNotFound(name)
        text = path.read_text(encoding="utf-8")
        if not name.startswith("emit/"):
            shown = path.relative_to(ROOT).as_posix()
            lines = [f'#line 1 "{shown}"']
            for number, line in enumerate(text.splitlines(), 1):
                lines.append(line)
                if STATEMENT.match(line):
                    lines.append(f'#line {number + 1} "{shown}"')
            text = "\n".join(lines) + "\n"
        return text, str(path), lambda: True


def c_string(line):
    return '"' + line.replace("\\", "\\\\").replace('"', '\\"') + '\\n"'


def words(data):
    """Bytes as 64-bit words, eight to a line, the last padded with zeros."""
    data += b"\0" * (-len(data) % 8)
    numbers = [f"0x{int.from_bytes(data[i:i + 8], 'little'):x}" for i in range(0, len(data), 8)]
    return "\n".join("    " + ", ".join(numbers[i:i + 8]) + "," for i in range(0, len(numbers), 8))


ENVIRONMENT = jinja2.Environment(loader=Loader(), undefined=jinja2.StrictUndefined, trim_blocks=True,
                                 lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)
ENVIRONMENT.filters["c_string"] = c_string
ENVIRONMENT.filters["words"] = words


def banner(template, of="codegen/variants.toml"):
    return ("// SPDX-FileCopyrightText: 2026 The Lathe authors\n"
            "// SPDX-License-Identifier: MIT\n"
            f"// Generated from templates/emit/{template} and {of}: do not edit. To make it again:\n"
            "// python3 codegen/generate.py --out DIR")


def emit(name, **values):
    return ENVIRONMENT.get_template(f"emit/{name}").render(banner=banner, params=params, **values)


def params(variant):
    """The parameter block: what the host prints before the body when it compiles a variant."""
    return ENVIRONMENT.get_template("emit/params.j2").render(params=variant.params)


def without_idle_lines(text):
    """Of several #line in a row the last one counts."""
    lines = text.splitlines()
    kept = [line for line, after in zip(lines, lines[1:] + [""])
            if not (LINE.match(line) and LINE.match(after))]
    return "\n".join(kept) + "\n"


def body(family):
    """The family's kernel source, all but the parameter block."""
    values = {"op": family.op, "q": family.q, "kv": family.kv, "out": family.out, "math": family.math}
    return without_idle_lines(ENVIRONMENT.get_template(f"{family.op}_{family.arch}.cuh.j2").render(**values))


# What stands for a kernel where its body cannot be: name, then whose parameters it takes, and whether it takes
# tensor maps.
EMPTY = {"empty": ("decode", "kernel_params.h", False), "empty_maps": ("decode", "kernel_params.h", True),
         "empty_append": ("append", "append_params.h", False), "empty_join": ("join", "join_params.h", False)}


def empty(name):
    op, header, maps = EMPTY[name]
    return without_idle_lines(ENVIRONMENT.get_template("empty.cuh.j2").render(op=op, header=header, maps=maps))


def parts(text):
    """The runs of lines that come from one file: what families share."""
    found, shown = [], None
    for line in text.splitlines():
        match = LINE.match(line)
        if match and match[2] != shown:
            found.append([])
            shown = match[2]
        found[-1].append(line)
    return [tuple(part) for part in found]
