"""The parts of a document that are meant to be run: fenced as `sh`, with the words behind it saying by whom."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(r"^```(\S*)[ \t]*([^\n]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block. One that begins ```` ```sh host-check upgrade ```` is in `sh` and has two words."""

    language: str
    words: tuple[str, ...]
    line: int  # of its first line of text, from 1
    text: str


def blocks(text: str) -> Iterator[Block]:
    """Every fenced block of a document, in order."""
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        yield Block(match[1], tuple(match[2].split()), line, match[3])


def without_blocks(text: str) -> str:
    """The document with each block replaced by as many empty lines, so that line numbers stay."""
    return _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)


def to_run(document: Path, runner: str) -> list[Block]:
    """The blocks that `runner` runs."""
    return [block for block in blocks(document.read_text()) if block.language == "sh" and block.words[:1] == (runner,)]
