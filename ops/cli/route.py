"""`gatehouse route`: services of yours behind the edge, one file each."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edge.entries import Table


@click.group()
def command() -> None:
    """List what goes where; put a service of yours behind the edge, or take it away again.

    A running edge takes the change in by itself within seconds, and no request is lost.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def list_(as_json: bool) -> None:
    """Show every route of the table as it lies on the disk."""
    from ops.cli.output import show_json, show_table  # noqa: PLC0415
    from ops.routes import Routes  # noqa: PLC0415

    table = Routes().read()
    if as_json:
        show_json({"routes": [_fields(table, number) for number in range(len(table.routes))]})
    else:
        show_table(_shown(table))


@command.command()
@click.argument("name")
@click.option("--to", "servers", multiple=True, required=True, metavar="URL", help="Where it listens; may be repeated.")
@click.option("--path", help="This path and everything below it; / when only hosts are given.")
@click.option("--host", "hosts", multiple=True, help="For this host only, such as shop.example.com; may be repeated.")
@click.option("--auth", type=click.Choice(["required", "optional", "none"]), default="required", show_default=True)
@click.option("--permission", help="What the caller must hold, such as reports:read.")
@click.option("--strip-prefix", is_flag=True, help="The service sees the path without PATH.")
@click.option("--replace", is_flag=True, help="Where there is such a route already.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def add(
    *,
    name: str,
    servers: tuple[str, ...],
    path: str | None,
    hosts: tuple[str, ...],
    auth: str,
    permission: str | None,
    strip_prefix: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Put the service NAME behind the edge; more than these options is in docs/routes.md."""
    from ops.cli.output import say  # noqa: PLC0415
    from ops.routes import Routes  # noqa: PLC0415

    if path is None and not hosts:
        raise click.UsageError("give --path or --host: it would take everything")
    options = {"hosts": list(hosts), "permission": permission, "strip_prefix": strip_prefix}
    entry = {"path": path or "/", "auth": auth, **{key: value for key, value in options.items() if value}}
    file = Routes().add(name, entry, servers, replaces=replace)
    where = f"{', '.join(hosts)}{entry['path']}"
    say(as_json, f"{where} goes to {', '.join(servers)} within seconds ({file})", name=name, file=str(file), **entry)


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def remove(name: str, as_json: bool) -> None:
    """Take the service NAME away; requests under way are answered."""
    from ops.cli.output import say  # noqa: PLC0415
    from ops.routes import Routes  # noqa: PLC0415

    file = Routes().remove(name)
    say(as_json, f"{name} is gone within seconds ({file})", name=name, file=str(file))


def _fields(table: "Table", number: int) -> dict[str, Any]:
    from ops.routes import UNKNOWN  # noqa: PLC0415

    route = table.routes[number]
    servers = [server for server in table.upstreams[route.upstream].servers if server != UNKNOWN]
    return {
        **route.model_dump(mode="json", include={"path", "hosts", "methods", "auth", "limits", "permission"}),
        "upstream": route.upstream,
        "servers": servers,
    }


def _shown(table: "Table") -> Any:
    from rich.table import Table as Grid  # noqa: PLC0415

    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in ("hosts", "path", "methods", "auth", "limits", "upstream"):
        grid.add_column(header)
    for route in sorted(table.routes, key=lambda route: (route.hosts, route.path)):
        grid.add_row(
            ", ".join(route.hosts) or "any",
            route.path,
            ", ".join(route.methods) or "all",
            route.auth,
            ", ".join(route.limits) or "-",
            route.upstream,
        )
    return grid
