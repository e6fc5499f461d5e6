"""`gatehouse status`: what runs."""

import sys
from typing import Any

import click

_COLOURS = {"ready": "green", "running": "green", "starting": "yellow", "degraded": "yellow"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(as_json: bool) -> None:
    """Show every service and server: state, process, uptime, restarts, memory, address. Exit status 1 unless ready."""
    from ops.cli.output import say, show_json  # noqa: PLC0415
    from ops.stack.condition import condition  # noqa: PLC0415
    from ops.stack.place import Place  # noqa: PLC0415

    place = Place.find()
    status = condition(place)
    if status is None:
        say(as_json, f"nothing is running over {place.var}", state="stopped", ready=False, var=str(place.var))
        sys.exit(1)
    if as_json:
        show_json(status)
    else:
        _show(status)
    sys.exit(0 if status["ready"] else 1)


def _show(status: dict[str, Any]) -> None:
    from ops.cli.output import duration, megabytes, show_table  # noqa: PLC0415
    from ops.stack.probe import unhealthy  # noqa: PLC0415

    state = status["readiness"] if status["state"] == "running" else status["state"]
    culprits = f" ({', '.join(unhealthy(status))})" if unhealthy(status) else ""
    click.echo(f"{click.style(state, fg=_COLOURS.get(state, 'red'), bold=True)}{culprits}  {status['url']}")
    keeper = f"controller pid {status['pid']}" if status["pid"] else f"kept by {status['manager']}"
    click.echo(
        f"up {duration(status['uptime_seconds'])}, services use {megabytes(status['memory_bytes'])}, "
        f"{keeper}, state in {status['var']}\n"
    )
    show_table(_table([*status["services"], *status["servers"]]))


def _table(entries: list[dict[str, Any]]) -> Any:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from ops.cli.output import duration, megabytes  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header, side in (("name", "left"), ("state", "left"), ("pid", "right"), ("up", "right")):
        table.add_column(header, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for header, side in (("restarts", "right"), ("memory", "right"), ("address", "left")):
        table.add_column(header, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for entry in entries:
        up = duration(entry["uptime_seconds"]) if entry["uptime_seconds"] is not None else "-"
        state = Text(entry["state"], style=_COLOURS.get(entry["state"], "red"))
        memory = megabytes(entry["memory_bytes"])
        table.add_row(
            _name(entry), state, str(entry["pid"] or "-"), up, str(entry["restarts"]), memory, _address(entry)
        )
    return table


def _name(entry: dict[str, Any]) -> str:
    return str(entry.get("title", entry["name"]))


def _address(entry: dict[str, Any]) -> str:
    """The one address that clients use; sockets for ourselves are left out."""
    listening = [place["address"] for place in entry.get("listening", []) if place["name"] == "http"]
    return str(entry.get("address") or ", ".join(listening))
