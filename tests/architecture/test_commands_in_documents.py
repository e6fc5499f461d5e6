"""Every command line of the documents can be typed: its program, command, options, files, units and settings exist."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from ops.host.document import blocks, to_run, without_blocks
from tests.architecture.commands import command_lines, commands, fault_of
from tests.architecture.sources import ROOT
from tests.architecture.variables import BETWEEN_PROCESSES, all_read

DOCUMENTS = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
TO_FOLLOW = [ROOT / "README.md", ROOT / "DEPLOYMENT.md", ROOT / "docs" / "runbook.md"]
LANGUAGES = {"", "sh", "console", "text", "python", "toml", "json", "ini", "nginx", "caddy", "yaml", "sql"}
# Read by nothing of ours: of the tests, of make, of Compose, of the reader's own, or of programs in front.
NOT_OURS = frozenset({"NAME", "NAME_FILE", "SERVERS", "TEST_DATABASE_URL", "TEST_REDIS_URL", "REPORTS_KEY"})
NOT_OURS |= {"COMPOSE_PROJECT_NAME", "PYTHON", "REQUIRE_TOOLS"}
SETTING = re.compile(r"\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)=")
UNIT = re.compile(r"(gatehouse[a-z-]*@?)(?:[\w-]*)\.(service|socket|timer|target)")
by_name = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def settings_named(text: str) -> set[str]:
    """Names that are given a value: in blocks, `NAME=…`; in running text, `NAME` or `NAME=…` in code marks.

    Only a name with an underscore is taken for a setting where no value follows it.
    """
    given = {name for block in blocks(text) if block.language != "json" for name in SETTING.findall(block.text)}
    prose = "\n".join(line for line in without_blocks(text).splitlines() if "not yet (" not in line)
    return given | set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", prose))


def shell_variables(text: str) -> set[str]:
    return set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", text))


def composed() -> set[str]:
    """What the compose files take from .env, and what Compose itself does."""
    files = (*ROOT.glob("docker-compose*.yml"), *(ROOT / "ops" / "docker").glob("*.yml"))
    return {"COMPOSE_FILE"}.union(*(shell_variables(file.read_text()) for file in files))


def units_named(text: str) -> set[str]:
    """Units of ours: `gatehouse-edge.service`, and what `systemctl` is asked about."""
    named = {f"{unit}.{kind}" for unit, kind in UNIT.findall(text)}
    for line in command_lines(text):
        for words in commands(line.text):
            if words[0] in ("systemctl", "journalctl"):
                asked = words if words[0] == "systemctl" else [after for u, after in pairwise(words) if u == "-u"]
                bare = {word for word in asked if re.fullmatch(r"gatehouse-[a-z-]+", word)}
                named |= {f"{word}.service" for word in bare}
    return named


@by_name
def test_every_command_line_is_one_that_exists(document: Path) -> None:
    faults = [
        f"{document.name}:{line.number}: {fault}"
        for line in command_lines(document.read_text())
        if (fault := fault_of(line.text, mention=line.block is None))
    ]
    assert faults == []


@by_name
def test_every_block_says_what_it_is(document: Path) -> None:
    text = document.read_text()
    assert {block.language for block in blocks(text)} - LANGUAGES == set()
    assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(list(blocks(text))), "a fence is not closed"


@by_name
def test_every_setting_in_a_document_is_read(document: Path) -> None:
    if document.name == "coming-from.md":
        pytest.skip("names the guides' settings too; test_coming_from.py compares them")
    text = document.read_text()
    known = all_read() | BETWEEN_PROCESSES | NOT_OURS | composed() | shell_variables(text)
    assert settings_named(text) - known == set()


@by_name
def test_every_unit_in_a_document_is_shipped(document: Path) -> None:
    shipped = {path.name for path in (ROOT / "ops" / "systemd").glob("gatehouse*")}
    assert units_named(document.read_text()) - shipped == set()


@pytest.mark.parametrize("document", TO_FOLLOW, ids=lambda path: path.name)
def test_documents_to_follow_hold_commands(document: Path) -> None:
    lines = list(command_lines(document.read_text()))
    ours = [words[1] for line in lines for words in commands(line.text) if words[0] == "gatehouse" and words[1:]]
    assert sum(line.block is not None for line in lines) >= 8
    assert len(set(ours)) >= 4


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("gatehouse dance", "no such command: dance"),
        ("sudo gatehouse status --loud", "No such option"),
        ("gatehouse status --json extra", "too many arguments"),
        ("gatehouse serve", "missing"),
        ("echo done && GATEHOUSE_VAR=/tmp/x gatehouse no-such", "no such command"),
        ("TOKEN=$(gatehouse no-such --json | cut -c1)", "no such command"),
        ("make tea", "no such target"),
        ("make test SERVANTS=system", "reads no SERVANTS"),
        ("cp ops/systemd/nothing.conf /etc/", "no such file"),
        ("frobnicate --all", "no known program"),
    ],
)
def test_command_that_cannot_work_is_seen(line: str, why: str) -> None:
    assert why in (fault_of(line) or "")


def test_command_lines_are_found_wherever_they_stand() -> None:
    text = (
        "Run `gatehouse up [--detach]`.\n\n```sh host-check first\n# why\n"
        "cat > x <<'END'\nfrob\nEND\nls \\\n  -l\n```\n"
        "```console\n$ make run  # now\nfrob\n```\n```text\nfrob\n```\n"
    )
    found = [(line.number, commands(line.text)) for line in command_lines(text)]
    assert found == [
        (5, [["cat"]]),
        (8, [["ls", "-l"]]),
        (12, [["make", "run"]]),
        (1, [["gatehouse", "up", "--detach"]]),
    ]


def test_settings_and_units_are_recognised() -> None:
    text = "`EDGE_PORT=1`, `NO_SUCH_NAME`, `gatehouse-a.timer`\n```sh\nNOR_THIS=2 systemctl status gatehouse-tea\n"
    text += "journalctl --tag gatehouse-x -u gatehouse-milk\n```\n"
    assert settings_named(text) == {"EDGE_PORT", "NO_SUCH_NAME", "NOR_THIS"}
    assert units_named(text) == {"gatehouse-tea.service", "gatehouse-milk.service", "gatehouse-a.timer"}


def test_blocks_of_a_runner_are_told_apart(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("```sh host-check one\na\n```\n```sh\nb\n```\n```sh host-check two\nc\nd\n```\n")
    found = [(block.words[1:], block.line, block.text) for block in to_run(document, "host-check")]
    assert found == [(("one",), 2, "a\n"), (("two",), 8, "c\nd\n")]
