"""Shows a controller's events: with a spinner and a box on a terminal, as plain lines anywhere else."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ops.stack.events import Event

_BOX_MARGIN = 6
_LABEL_WIDTH = 8
_NOTE_SECONDS_MIN = 0.05


class Teller(Protocol):
    def __call__(self, event: Event) -> None: ...


def teller() -> Teller:
    """For this process's standard output."""
    return TerminalTeller() if sys.stdout.isatty() else plain_teller


def plain_teller(event: Event) -> None:
    """One line for each thing that happened, with nothing that a pipe or a log would garble."""
    match event["event"]:
        case "end":
            click.echo(f"{event['title']}: {event['note'] or 'done'} ({event['seconds']:.1f} s)")
        case "say":
            click.echo(event["text"])
        case "ready":
            rows = _rows(event["summary"])
            click.echo("\nGatehouse is ready\n")
            click.echo("\n".join(f"  {label:<{_LABEL_WIDTH}}  {value}" for label, value in rows))
            click.echo("\n".join(_after(event["summary"])))
    sys.stdout.flush()


class TerminalTeller:
    """A spinner beside the step under way, a tick beside those done."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._spinner = self._console.status("")
        self._spins = False

    def __call__(self, event: Event) -> None:
        match event["event"]:
            case "begin":
                self._spinner.update(f"{event['title']} …")
                self._spinner.start()
                self._spins = True
            case "end":
                self._rest()
                self._console.print(_done(event))
            case "say":
                self._console.print(Text(f"• {event['text']}", style="yellow"), soft_wrap=True)
            case "ready":
                self._rest()
                self._show_ready(event["summary"])
            case "failed":
                self._rest()

    def _rest(self) -> None:
        if self._spins:
            self._spinner.stop()
            self._spins = False

    def _show_ready(self, summary: dict[str, Any]) -> None:
        rows = _rows(summary)
        self._console.print()
        widest = max(len(label) for label, _ in rows) + max(len(value) for _, value in rows) + 2
        if widest + _BOX_MARGIN <= self._console.width:
            self._console.print(Panel(_table(rows), title="Gatehouse is ready", expand=False, border_style="green"))
        else:  # a border would cut values that are there to be copied
            self._console.print(Text("Gatehouse is ready", style="bold green"))
            for label, value in rows:
                self._console.print(Text(f"  {label:<{_LABEL_WIDTH}}  {value}"), soft_wrap=True)
        # Never inside a border, never wrapped by us: the terminal wraps it so that it copies as one line.
        for line in _after(summary):
            self._console.print(Text(line), soft_wrap=True)


def _done(event: Event) -> Text:
    text = Text("✓ ", style="green").append(event["title"], style="default")
    note = event["note"]
    if note:
        text.append(f"  {note}", style="dim")
    if event["seconds"] >= _NOTE_SECONDS_MIN:
        text.append(f"  {event['seconds']:.1f} s", style="dim")
    return text


def _table(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ignore")
    for label, value in rows:
        table.add_row(label, Text(value))
    return table


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What a newcomer needs, by label."""
    url, var, program = summary["url"], Path(summary["var"]), program_name()
    rows = [("API", f"{url}/api/v1/"), ("Health", f"{url}/health/ready")]
    if known := summary.get("credentials"):
        rows.append(("Admin", known["admin"]["email"]))
        shown = known["admin"]["password"] if summary["is_first_run"] else f"in {short(var / 'gatehouse.json')}"
        rows += [("Password", shown), ("API key", known["api_key"])]
    elif "credentials" in summary:
        rows.append(("Admin", "made earlier; its password is not kept here"))
    return [
        *rows,
        ("Logs", f"{program} logs -f  (files in {short(var / 'logs')})"),
        ("Status", f"{program} status"),
        ("Stop", f"{program} down" if summary.get("is_detached") else f"Ctrl-C, or {program} down"),
    ]


def _after(summary: dict[str, Any]) -> list[str]:
    """What is to be copied whole."""
    known = summary.get("credentials")
    if not known:
        return ["", "Try it:", "", f"curl {summary['url']}/health/ready", ""]
    return ["", "Try it:", "", f'curl -H "Authorization: Bearer {known["api_key"]}" {summary["url"]}/api/v1/me', ""]


def program_name() -> str:
    """How this person calls us: the bare name only where it is found."""
    own = Path(sys.executable).with_name("gatehouse")
    name = "gatehouse" if shutil.which("gatehouse") == str(own) else short(own) if own.exists() else "python -m ops.cli"
    # What finds this stack now must find it again when it is pasted.
    var = os.environ.get("GATEHOUSE_VAR")
    return f"GATEHOUSE_VAR={shlex.quote(var)} {name}" if var else name


def short(path: Path) -> str:
    """Relative to the working directory where it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
