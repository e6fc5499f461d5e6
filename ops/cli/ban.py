"""`gatehouse ban`: who gets no answer, and an end or a beginning of that."""

from typing import Any

import click


@click.group()
def command() -> None:
    """Show, add and lift bans of addresses.

    The edge bans by itself whoever fails too often to sign in (BAN_* in .env.example). An IPv6 address stands for the
    /64 that one subscriber holds.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the bans as JSON.")
def show(as_json: bool) -> None:
    """Show who is banned and for how long still."""
    from ops.cli.output import duration, show_json, show_table  # noqa: PLC0415

    items = _ask("GET", "/bans")["items"]
    if as_json:
        show_json(items)
        return
    if not items:
        click.echo("nobody is banned")
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table("address", "ends in", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for item in items:
        table.add_row(item["address"], duration(item["seconds_left"]))
    show_table(table)


@command.command()
@click.argument("address")
@click.option("--seconds", type=click.IntRange(1), help="How long; BAN_SECONDS when not given.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def add(address: str, seconds: int | None, as_json: bool) -> None:
    """Ban ADDRESS, on every edge that shares the store."""
    from ops.cli.output import duration, say  # noqa: PLC0415

    wanted = {"address": address} if seconds is None else {"address": address, "seconds": seconds}
    done = _ask("POST", "/bans", wanted)
    say(as_json, f"{done['address']} is banned for {duration(done['seconds'])}{_where(done)}", **done)


@command.command()
@click.argument("address")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def lift(address: str, as_json: bool) -> None:
    """Let ADDRESS in again and forget its failures."""
    from urllib.parse import quote  # noqa: PLC0415

    from ops.cli.output import say  # noqa: PLC0415

    done = _ask("DELETE", f"/bans?address={quote(address, safe='')}")
    said = "may come again" if done["was_banned"] else "was not banned; its failures are forgotten"
    say(as_json, f"{done['address']} {said}{_where(done)}", **done)


def _where(done: dict[str, Any]) -> str:
    return "" if done["shared"] else ", in the one edge process that was asked: the store is away"


def _ask(method: str, target: str, body: Any = None) -> dict[str, Any]:
    from ops.edge_admin import ask  # noqa: PLC0415
    from ops.stack.place import Place  # noqa: PLC0415

    return ask(Place.find(), method, target, body)
