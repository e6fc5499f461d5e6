"""`gatehouse backup`: makes one, lists them, tries one out."""

from pathlib import Path
from typing import Any

import click

from ops.backup.manifest import PARTS


@click.group(invoke_without_command=True)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="In place of BACKUP_DIRECTORY.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this part; may be repeated.")
@click.option("--preset", type=click.Choice(["guides"]), help="The files and names that deployment guides use.")
@click.option("--retention-days", type=click.FloatRange(min=0), help="In place of BACKUP_RETENTION_DAYS; 0 keeps all.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@click.pass_context
def command(
    context: click.Context,
    *,
    output: Path | None,
    parts: tuple[str, ...],
    preset: str | None,
    retention_days: float | None,
    as_json: bool,
) -> None:
    """Write one archive with the database, the configuration, certificates, secrets and logs, and read it back.

    It is encrypted when BACKUP_PASSPHRASE is set. Archives older than BACKUP_RETENTION_DAYS go afterwards, the newest
    good one never. A failure leaves everything as it was, is recorded and calls ALERT_HOOK.
    """
    if context.invoked_subcommand is not None:
        return
    from ops.backup import create, guides  # noqa: PLC0415
    from ops.cli.bars import bars, interruptible  # noqa: PLC0415

    with interruptible(), bars() as progress:
        make = guides.create if preset == "guides" else create
        made = make(output, only=parts or PARTS, retention_days=retention_days, progress=progress)
    _show({**made.entry(), "rows": dict(made.rows), "removed": [str(path) for path in made.removed]}, as_json)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def list_(as_json: bool) -> None:
    """Show the backups there are, and the last failure and drill."""
    from ops.backup import record  # noqa: PLC0415
    from ops.cli.output import show_json, show_table  # noqa: PLC0415
    from ops.stack.place import Place  # noqa: PLC0415

    found = record.read(Place.find())
    if as_json:
        show_json(found)
        return
    if found["backups"]:
        show_table(_table(found["backups"]))
    else:
        click.echo("no backup yet")
    for title, key in (("last failure", "last_failure"), ("last drill", "last_drill")):
        if entry := found[key]:
            click.echo(f"{title}: {entry['time']}  {entry.get('error') or 'passed'}")


@command.command()
@click.option(
    "--from", "source", type=click.Path(exists=True, path_type=Path), help="A file, or the newest of a directory."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was seen as JSON.")
def drill(source: Path | None, as_json: bool) -> None:
    """Restore a backup into a scratch stack on free ports, count its rows, sign in, and remove it.

    Without --from a backup is made for it. The running stack is not touched. The outcome is recorded; a failure calls
    ALERT_HOOK.
    """
    from ops.backup.drilling import drill as run  # noqa: PLC0415
    from ops.cli.bars import bars, interruptible  # noqa: PLC0415
    from ops.cli.output import say  # noqa: PLC0415

    with interruptible(), bars() as progress:
        outcome = run(source, progress=progress, say=lambda text: click.echo(text, err=True))
    checks = "\n".join(f"  {name:<12} {seen}" for name, seen in outcome["checks"].items())
    where = f"of {outcome['archive']}" if source else "of a backup made for it"
    say(as_json, f"the restore {where} works; {outcome['seconds']:.1f} s\n{checks}", **outcome)


def _show(made: dict[str, Any], as_json: bool) -> None:
    from ops.cli.output import say  # noqa: PLC0415

    closed = "encrypted" if made["encrypted"] else "not encrypted: keep it where only you can read it"
    lines = [
        f"{made['path']}",
        f"{size(made['bytes'])}, {', '.join(made['parts'])}; {sum(made['rows'].values())} rows; {closed}",
        f"read back and found whole; {made['seconds']:.1f} s",
        *(f"removed {path}" for path in made["removed"]),
    ]
    say(as_json, "\n".join(lines), **made)


def _table(entries: list[dict[str, Any]]) -> Any:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in ("made", "size", "rows", "encrypted", "parts", "file"):
        table.add_column(header, no_wrap=True, justify="right" if header in {"size", "rows"} else "left")
    for entry in entries:
        parts = "all" if len(entry["parts"]) == len(PARTS) else ", ".join(entry["parts"])
        closed = "yes" if entry["encrypted"] else "no"
        table.add_row(entry["time"], size(entry["bytes"]), str(entry["rows"]), closed, parts, entry["path"])
    return table


def size(count: int) -> str:
    """`312 kB`, `4.1 MB`, `2.0 GB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{max(count / 1e3, 1):.0f} kB"
