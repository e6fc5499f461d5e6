""".env.example names every setting that any process reads, with its default and its aliases, and nothing else."""

import ast
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from dotenv import dotenv_values

from common.settings import Settings, names
from tests.architecture.sources import ROOT, parsed
from tests.architecture.variables import BETWEEN_PROCESSES, CLASSES, all_read, settings_names

EXAMPLE = (ROOT / ".env.example").read_text()


class Entry(NamedTuple):
    value: str
    comment: str  # of the group of lines it stands in
    aliases: tuple[str, ...]


def entries() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for paragraph in EXAMPLE.split("\n\n"):
        comment: list[str] = []
        for line in paragraph.splitlines():
            if match := re.fullmatch(r"#?([A-Z][A-Z0-9_]*)=(.*)", line):
                assert match[1] not in found, f"{match[1]} stands twice"
                found[match[1]] = Entry(match[2], " ".join(comment), _aliases(" ".join(comment)))
            else:
                comment.append(line.removeprefix("#").strip())
    return found


def _aliases(comment: str) -> tuple[str, ...]:
    match = re.search(r"\bAlias(?:es)?: ([A-Z0-9_]+(?:, [A-Z0-9_]+)*)\.", comment)
    return tuple(match[1].split(", ")) if match else ()


def fields() -> list[tuple[type[Settings], str]]:
    return [(cls, field) for cls in CLASSES for field in names(cls)]


def test_every_variable_that_is_read_is_documented_and_none_is_stale() -> None:
    documented = {name for name, entry in entries().items() for name in (name, *entry.aliases)}
    assert sorted(documented) == sorted(all_read())


def test_aliases_stand_beside_the_setting_they_mean() -> None:
    # DATABASE_URL is an alias too, and important enough for a paragraph of its own.
    expected = {name: tuple(a for a in aliases if a not in entries()) for name, aliases in settings_names().items()}
    assert {name: entry.aliases for name, entry in entries().items() if name in expected} == expected


@pytest.mark.parametrize(("cls", "field"), fields(), ids=lambda value: getattr(value, "__name__", value))
def test_documented_default_is_the_default(cls: type[Settings], field: str) -> None:
    variable = names(cls)[field][0]
    documented = entries()[variable].value
    default = getattr(cls.model_validate({}), field)
    if documented:
        assert _plain(getattr(cls.model_validate({variable: documented}), field)) == _plain(default)
    else:
        assert default in ("", None, ()), f"{variable} has the default {default!r}"


def _plain(value: Any) -> Any:
    return (ROOT / value).resolve() if isinstance(value, Path) else value


def test_copying_the_example_changes_nothing() -> None:
    assert dotenv_values(stream=io.StringIO(EXAMPLE)) == {}


def test_every_setting_has_an_explanation() -> None:
    assert [name for name, entry in entries().items() if not entry.comment] == []


def test_list_of_variables_between_processes_is_not_stale() -> None:
    constants = {node.value for _, tree in parsed() for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert BETWEEN_PROCESSES - constants == set()
