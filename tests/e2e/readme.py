"""What README.md shows, as something that can be typed."""

import re
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from ops.host.document import Block, blocks
from tests.e2e.conftest import Stack

README = Path(__file__).resolve().parents[2] / "README.md"
MARK = "-- end of a command --"


class Step(NamedTuple):
    command: str
    answer: str  # `…` stands for anything; empty where nothing is shown


def shown(section: str, language: str) -> Iterator[Block]:
    text = README.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    return (block for block in blocks(text) if block.language == language)


def steps(section: str) -> list[Step]:
    """The commands of the section, each with the lines shown beneath it."""
    typed = "\n".join(block.text for block in shown(section, "console"))
    found = []
    for part in re.split(r"^\$ ", typed, flags=re.MULTILINE)[1:]:
        first, *rest = part.splitlines()
        continued = list(takewhile(lambda line: line.startswith("    "), rest))
        found.append(Step("\n".join([first, *continued]), "\n".join(rest[len(continued) :]).strip()))
    return found


def type_in(steps: list[Step], stack: Stack) -> list[str]:
    """What each command prints, all of them in one shell against this stack."""
    script = "".join(f"{step.command}\necho; echo '{MARK}'\n" for step in steps)
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        check=False,
        cwd=stack.directory,
        input=script.replace("http://127.0.0.1:8080", stack.client.url),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return [answer.strip() for answer in done.stdout.split(MARK)[:-1]]


def require_answer(step: Step, answer: str) -> None:
    """What stands there, where something does; and no error where none does."""
    expected = ".*?".join(re.escape(part) for part in step.answer.split("…")) if step.answer else ".*"
    assert re.fullmatch(expected, answer, re.DOTALL), f"{step.command}\n{answer}"
    assert '"success":false' not in answer or '"success":false' in step.answer
