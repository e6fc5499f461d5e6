"""The journey in README.md, typed as it stands there, brings the answers that stand there."""

import re
import subprocess
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

from ops.host.document import blocks
from tests.e2e.conftest import Stack, StartStack

README = Path(__file__).resolve().parents[2] / "README.md"
MARK = "-- end of a command --"
pytestmark = pytest.mark.timeout(120)


class Step(NamedTuple):
    command: str
    answer: str  # `…` stands for anything; empty where nothing is shown


@pytest.fixture(scope="module")
def stack(start_stack: StartStack, empty_directory: Path) -> Stack:
    return start_stack(empty_directory)


def steps() -> list[Step]:
    """The commands of the section, each with the lines shown beneath it."""
    section = README.read_text().partition("## The journey")[2].partition("\n## ")[0]
    shown = "\n".join(block.text for block in blocks(section) if block.language == "console")
    found = []
    for part in re.split(r"^\$ ", shown, flags=re.MULTILINE)[1:]:
        first, *rest = part.splitlines()
        continued = list(takewhile(lambda line: line.startswith("    "), rest))
        found.append(Step("\n".join([first, *continued]), "\n".join(rest[len(continued) :]).strip()))
    return found


def typed(steps: list[Step], stack: Stack) -> list[str]:
    """What each command prints, all of them in one shell against this stack."""
    script = "".join(f"{step.command}\necho; echo '{MARK}'\n" for step in steps)
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        check=False,
        input=script.replace("http://127.0.0.1:8080", stack.client.url),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return [answer.strip() for answer in done.stdout.split(MARK)[:-1]]


def test_the_journey_as_it_stands_brings_the_answers_that_stand_there(stack: Stack) -> None:
    shown = steps()
    assert sum(bool(step.answer) for step in shown) >= 3
    for step, answer in zip(shown, typed(shown, stack), strict=True):
        expected = ".*?".join(re.escape(part) for part in step.answer.split("…")) if step.answer else ".*"
        assert re.fullmatch(expected, answer, re.DOTALL), f"{step.command}\n{answer}"
        assert '"success":false' not in answer or '"success":false' in step.answer
