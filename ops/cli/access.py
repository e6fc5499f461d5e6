"""`gatehouse access`: the monthly access review."""

from collections.abc import Sequence
from typing import Any

import click

_HEADERS = {
    "members": ("Members of the system organization and of teams", ("account", "organization", "role", "last_sign_in")),
    "keys": ("Keys that work, longest unused first", ("name", "preview", "account", "last_used_at", "expires_at")),
    "failed_addresses": ("Failed sign-ins by address", ("address", "attempts", "accounts", "last_at")),
    "failed_accounts": ("Failed sign-ins by account", ("account", "attempts", "addresses", "last_at")),
}


@click.command()
@click.option(
    "--days", default=30, show_default=True, type=click.IntRange(1, 90), help="How far back sign-ins are counted."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(days: int, as_json: bool) -> None:
    """Show who has access and who tried to: accounts, roles, keys with their last use, sessions, failed sign-ins.

    It changes nothing. The notes at its end are what to look at first; docs/security-review.md says what to do.
    """
    import psycopg  # noqa: PLC0415

    from ops import access  # noqa: PLC0415
    from ops.cli.output import show_json  # noqa: PLC0415
    from ops.migrate.database import said  # noqa: PLC0415
    from ops.stack import configuration  # noqa: PLC0415
    from ops.stack.database import service_url  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    try:
        found = access.review(service_url(configuration.read(), "AUTH_DATABASE_URL"), days=days)
    except psycopg.Error as error:
        raise StackError(f"the database does not answer the review: {said(error)}") from None
    if as_json:
        show_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    click.echo(f"Access review of {found['time']}, the last {found['days']} days\n")
    for name, count in found["counts"].items():
        click.echo(f"  {name.replace('_', ' '):<18}{count:>8}")
    for name, (title, columns) in _HEADERS.items():
        click.echo(f"\n{click.style(title, bold=True)}")
        _show_list(found[name], columns)
    click.echo(f"\n{click.style('To look at', bold=True)}")
    for note in found["notes"] or ["nothing stands out"]:
        click.echo(f"  {note}")


def _show_list(entries: list[dict[str, Any]], columns: Sequence[str]) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from ops.cli.output import show_table  # noqa: PLC0415

    if not entries:
        click.echo("  none")
        return
    table = Table(box=None, pad_edge=True, header_style="dim")
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=True)
    for entry in entries:
        # Names are their owners' words: never to be read as markup.
        table.add_row(*(Text(str(entry[column])) if entry[column] is not None else "never" for column in columns))
    show_table(table)
