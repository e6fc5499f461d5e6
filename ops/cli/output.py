"""What commands print: a sentence for people, or the same as JSON."""

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table


def say(as_json: bool, sentence: str, **fields: Any) -> None:
    """The sentence, or the fields."""
    if as_json:
        show_json(fields)
    else:
        click.echo(sentence)


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def show_table(table: Table) -> None:
    """As wide as it must be where nobody sees the edge: a pipe gets every row on one line."""
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def duration(seconds: float) -> str:
    """`42 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def megabytes(size: int) -> str:
    return f"{size / 1_000_000:.0f} MB"
