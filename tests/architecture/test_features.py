"""docs/features.md is complete and every proof it names exists."""

import ast
import re
from functools import cache
from typing import NamedTuple

import pytest

from tests.architecture.commands import fault_of
from tests.architecture.sources import ROOT

DOCUMENT = (ROOT / "docs" / "features.md").read_text()
PARTS = ("Edge engine", "Identity", "Console", "Modules", "Completions", "Operations", "League")
LAST = {"A": 20, "B": 15, "C": 11, "D": 14, "E": 5, "F": 7, "G": 12, "H": 7, "I": 5, "J": 19, "K": 5, "L": 6}
LAST |= {"M": 9, "N": 7, "O": 9, "P": 8, "Q": 6, "R": 8}
NOT_YET = re.compile(rf"not yet \(({'|'.join(PARTS)})\)(?:: .+)?")


class Row(NamedTuple):
    number: str
    title: str
    today: str
    shown: str  # what stands in the last cell before "not yet"
    later: str  # "not yet (Part): …", or nothing

    @property
    def proofs(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.shown)


def parse(line: str) -> Row | None:
    cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    if len(cells) != 4 or not re.fullmatch(r"[A-Z]\d+", cells[0]):
        return None
    shown, mark, later = cells[3].partition("not yet (")
    return Row(*cells[:3], shown.rstrip("; "), mark + later)


ROWS = [row for row in map(parse, DOCUMENT.splitlines()) if row]


@cache
def functions_of(file: str) -> frozenset[str]:
    """The test functions of a file below the root; none when it is not there."""
    path = ROOT / file
    tree = ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def fault(proof: str) -> str | None:
    """Why a proof proves nothing: no such test, target or command. None when it exists."""
    file, mark, name = proof.partition("::")
    if mark:
        return None if name in functions_of(file) else f"{proof}: no such test"
    if proof.startswith(("make ", "gatehouse ")):
        return fault_of(proof)
    return f"{proof}: neither a test nor a command"


def contradiction(row: Row) -> str | None:
    """What a line says of itself that cannot be so."""
    expected = {"yes": (True, False), "partly": (True, True), "not yet": (False, True)}
    if row.today not in expected:
        return f"{row.number}: {row.today!r} is none of {', '.join(expected)}"
    if (bool(row.proofs), bool(row.later)) != expected[row.today]:
        return f"{row.number} says {row.today!r}, names {len(row.proofs)} proofs and {row.later or 'nothing to come'}"
    if row.later and not NOT_YET.fullmatch(row.later):
        return f"{row.number}: {row.later!r} names no part that is to come"
    if row.shown and not re.fullmatch(r"`[^`]+`(?:, `[^`]+`)*", row.shown):
        return f"{row.number}: {row.shown!r} is no list of proofs"
    return None


def test_every_number_has_one_line_in_order() -> None:
    expected = [f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)]
    assert [row.number for row in ROWS] == expected


def test_every_line_has_a_title_and_says_one_thing() -> None:
    assert [text for row in ROWS if (text := contradiction(row))] == []
    assert [row.number for row in ROWS if not row.title] == []


@pytest.mark.parametrize("row", [row for row in ROWS if row.proofs], ids=lambda row: row.number)
def test_every_proof_exists(row: Row) -> None:
    assert [text for proof in row.proofs if (text := fault(proof))] == []


@pytest.mark.parametrize(
    "proof",
    [
        "tests/architecture/test_features.py::test_nothing_of_the_kind",
        "tests/architecture/test_nothing.py::test_every_proof_exists",
        "make tea",
        "gatehouse dance",
        "gatehouse status --loud",
        "looked at by hand",
    ],
)
def test_proof_that_does_not_exist_is_seen(proof: str) -> None:
    assert fault(proof) is not None


@pytest.mark.parametrize(
    "line",
    [
        "| A1 | TLS | yes | not yet (Modules) |",
        "| A1 | TLS | yes | `make test`; not yet (Modules): more |",
        "| A1 | TLS | yes | |",
        "| A1 | TLS | not yet | `make test`; not yet (Modules) |",
        "| A1 | TLS | partly | `make test` |",
        "| A1 | TLS | not yet | not yet (Some day) |",
        "| A1 | TLS | yes | `make test`, and believe us |",
        "| A1 | TLS | surely | `make test` |",
    ],
)
def test_line_that_contradicts_itself_is_seen(line: str) -> None:
    row = parse(line)
    assert row is not None
    assert contradiction(row) is not None
