"""`gatehouse resources`: what takes how much."""

from typing import Any

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(as_json: bool) -> None:
    """Show the size of databases, logs, certificates and backups, and each service's share of memory and processor."""
    from ops.cli.output import show_json  # noqa: PLC0415
    from ops.stack import configuration, resources  # noqa: PLC0415

    read = configuration.read()
    sizes, uses, disk = resources.sizes(read), resources.uses(read), resources.disk(read)
    if as_json:
        show_json(
            {"sizes": [size._asdict() for size in sizes], "services": [use._asdict() for use in uses], "disk": disk}
        )
        return
    _show_sizes(sizes)
    click.echo(f"\n{size_text(disk['free_bytes'])} of {size_text(disk['total_bytes'])} free at {disk['path']}\n")
    _show_uses(uses)


def size_text(size: int | None) -> str:
    """`-`, `512 B`, `3.4 kB`, `17.2 MB`, `5.1 GB`."""
    if size is None:
        return "-"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def _table(*headers: str) -> Any:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, header in enumerate(headers):
        table.add_column(header, justify="left" if number == 0 or header == "where" else "right", no_wrap=True)
    return table


def _show_sizes(sizes: list[Any]) -> None:
    from ops.cli.output import show_table  # noqa: PLC0415

    table = _table("what", "size", "where")
    for size in sizes:
        table.add_row(size.name, size_text(size.size_bytes), f"{size.where}{f' ({size.note})' if size.note else ''}")
    show_table(table)


def _show_uses(uses: list[Any]) -> None:
    from ops.cli.output import duration, show_table  # noqa: PLC0415

    if not uses:
        click.echo("nothing of this stack is running")
        return
    table = _table("service", "processes", "memory", "CPU now", "CPU since its start")
    for use in uses:
        row = (use.name, str(use.processes), size_text(use.memory_bytes), f"{use.cpu_percent:.1f} %")
        table.add_row(*row, duration(use.cpu_seconds))
    show_table(table)
