"""A settings file that people edit too: what is asked for is set, everything else stays as it is."""

import re
from collections.abc import Mapping
from io import StringIO

from dotenv import dotenv_values

_SETTING = re.compile(r"\s*(?:export\s+)?([A-Z][A-Z0-9_]*)\s*=")
_PLAIN = re.compile(r"[A-Za-z0-9_./:,@*+%-]*")


def values(text: str) -> dict[str, str]:
    """The settings in it that have a value."""
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value}


def merged(text: str, wanted: Mapping[str, str], comments: Mapping[str, str]) -> str:
    """`text` with each of `wanted` set: in its own line where there is one, else at the end under its comment.

    A setting whose value is empty is taken to be not wanted, and left as it is. Of several lines the last counts.
    """
    lines = text.splitlines()
    places = {_name(line): number for number, line in enumerate(lines)}
    for name in changed(text, wanted):
        if name in places:
            lines[places[name]] = _line(name, wanted[name])
            continue
        comment = [*([""] if lines else []), f"# {comments[name]}"] if name in comments else []
        lines += [*comment, _line(name, wanted[name])]
    return "".join(f"{line}\n" for line in lines)


def changed(text: str, wanted: Mapping[str, str]) -> list[str]:
    """The names that `merged` would set anew."""
    known = values(text)
    return [name for name, value in wanted.items() if value and known.get(name) != value]


def _name(line: str) -> str:
    match = _SETTING.match(line)
    return match[1] if match else ""


def _line(name: str, value: str) -> str:
    if _PLAIN.fullmatch(value):
        return f"{name}={value}"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'"
