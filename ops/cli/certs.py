"""`gatehouse certs`: which certificates there are, and ordering them now."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import click


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show the edge's certificates: names, issuer, days left, where they come from, when they are renewed."""
    if context.invoked_subcommand is not None:
        return
    from ops.certificates import certificates  # noqa: PLC0415
    from ops.cli.output import show_json  # noqa: PLC0415
    from ops.owner import as_owner  # noqa: PLC0415
    from ops.stack import configuration  # noqa: PLC0415

    read = configuration.read()
    with as_owner(read.place.var):
        found = certificates(read)
    if as_json:
        show_json([status.as_json() for status in found])
    else:
        _show(found)


@command.command()
@click.argument("hosts", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Order from the staging authority where there is one; keep nothing.")
@click.option("--force", is_flag=True, help="Also where none is due; the weekly budget of a host holds all the same.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON.")
def renew(hosts: tuple[str, ...], dry_run: bool, force: bool, as_json: bool) -> None:
    """Order what is due now, of HOSTS or of all. The edge must run: it answers the authority.

    A failure that is waiting for its next attempt is not waited for.
    """
    from ops.certificates import Renewing  # noqa: PLC0415
    from ops.cli.output import show_json  # noqa: PLC0415
    from ops.owner import as_owner  # noqa: PLC0415
    from ops.stack import configuration  # noqa: PLC0415

    read = configuration.read()
    with as_owner(read.place.var):
        outcomes = asyncio.run(_renew(Renewing(read), hosts, dry_run=dry_run, force=force))
    if as_json:
        show_json(outcomes)
    else:
        for outcome in outcomes:
            click.echo(f"{outcome['host']}: {outcome['said']}")
    sys.exit(0 if all(outcome["done"] for outcome in outcomes) else 1)


async def _renew(renewing: Any, hosts: Sequence[str], *, dry_run: bool, force: bool) -> list[dict[str, Any]]:
    from redis import RedisError  # noqa: PLC0415

    from ops.stack.errors import StackError  # noqa: PLC0415

    if unknown := [host for host in hosts if host not in renewing.hosts]:
        raise StackError(f"{', '.join(unknown)}: not among DOMAINS, or no name that an authority gives by HTTP-01")
    try:
        return [await _one(renewing, host, dry_run=dry_run, force=force) for host in hosts or renewing.hosts]
    except RedisError as error:
        raise StackError(f"Valkey cannot be reached: {error}") from None
    finally:
        await renewing.close()


async def _one(renewing: Any, host: str, *, dry_run: bool, force: bool) -> dict[str, Any]:
    from edge.tls.ordering import OrderFailed  # noqa: PLC0415
    from edge.tls.records import read_kept  # noqa: PLC0415

    if dry_run:
        try:
            await renewing.renewal.rehearse(host)
        except OrderFailed as error:
            return {"host": host, "done": False, "outcome": "failed", "said": str(error)}
        return {"host": host, "done": True, "outcome": "rehearsed", "said": "an order would succeed"}
    if renewing.is_own(host):
        return {"host": host, "done": True, "outcome": "fresh", "said": "served with a certificate of yours"}
    is_wanted = force or renewing.renewal.is_due(host)
    outcome = await renewing.renewal.renew(host, insists=True) if is_wanted else "fresh"
    said = read_kept(renewing.folders.own, host).error if outcome == "failed" else _SAID[outcome]
    return {"host": host, "done": outcome in ("fresh", "taken", "issued"), "outcome": outcome, "said": said}


_SAID = {
    "fresh": "not due yet; --force orders all the same",
    "busy": "being ordered by the edge or another node at this moment",
    "waiting": "the budget of this week is spent, so that the authority's own limit is never met",
    "taken": "another node had a new one; it is ours too now",
    "issued": "issued; the edge serves it within seconds",
}


def _show(found: Sequence[Any]) -> None:
    from rich.table import Table  # noqa: PLC0415

    from ops.cli.output import show_table  # noqa: PLC0415

    if not found:
        click.echo("no certificates: the edge speaks plain HTTP (docs/tls.md)")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in ("names", "issuer", "days left", "source", "state", "renewed", "error"):
        table.add_column(header, justify="right" if header == "days left" else "left")
    for status in found:
        days = "-" if status.days_left is None else f"{status.days_left:.0f}"
        renewed = f"{status.renews_at:%Y-%m-%d %H:%M}" if status.renews_at else "by you"
        row = (", ".join(status.names), status.issuer, days, status.source, status.state, renewed, status.error)
        table.add_row(*row)
    show_table(table)
