"""`gatehouse restore`: puts a backup in the place of what there is."""

import sys
from pathlib import Path
from typing import Any

import click

from ops.backup.manifest import PARTS


@click.command()
@click.option(
    "--from", "source", required=True, type=click.Path(exists=True, path_type=Path), help="File or directory."
)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this part; may be repeated.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-start", is_flag=True, help="Where nothing runs before, leave it so.")
@click.option("--json", "as_json", is_flag=True, help="Print what was restored as JSON.")
def command(source: Path, parts: tuple[str, ...], yes: bool, no_start: bool, as_json: bool) -> None:
    """Replace data, secrets and certificates by those of an archive: the newest good one of a directory.

    It is checked to its end before anything is touched. The services are stopped meanwhile and started again; this
    returns when they are ready. A restore that fails or is interrupted leaves what was there before.
    """
    from ops.backup import planning, restoring  # noqa: PLC0415
    from ops.cli.bars import bars, interruptible  # noqa: PLC0415

    with interruptible():
        with bars() as progress:
            planned = planning.plan(source, parts=parts, say=_say, progress=progress, ask_passphrase=_asker(source))
        if not yes:
            _confirm(planned)
        with bars() as progress:
            restored = restoring.restore(planned, starts=not no_start, progress=progress, say=_say)
    _show(restored, as_json)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _asker(source: Path) -> Any:
    """Asks at a terminal for the passphrase of an archive that has one."""
    from ops.backup.age import is_encrypted  # noqa: PLC0415
    from ops.backup.files import archives  # noqa: PLC0415

    def ask() -> str | None:
        paths = [archive.path for archive in archives(source)] if source.is_dir() else [source]
        if not sys.stdin.isatty() or not any(is_encrypted(path) for path in paths[:1]):
            return None
        return str(click.prompt("Passphrase", hide_input=True, err=True))

    return ask


def _confirm(planned: Any) -> None:
    """Refuses where nobody can be asked."""
    dumped = planned.manifest.database
    rows = f" with {sum(dumped.rows.values())} rows" if dumped and "database" in planned.parts else ""
    text = (
        f"{', '.join(planned.parts)} of {planned.read.place.var} will be replaced by those of {planned.archive}, "
        f"made {planned.manifest.made_at}{rows}."
    )
    if not sys.stdin.isatty():
        raise click.UsageError(f"{text} Say --yes to do it.")
    click.confirm(f"{text} Go on?", abort=True, err=True)


def _show(restored: Any, as_json: bool) -> None:
    from ops.cli.output import say  # noqa: PLC0415

    after = f"start it again: {restored.next_step}" if restored.next_step else ""
    after = "the stack is running and ready" if restored.is_running else after
    lines = [
        f"restored {', '.join(restored.parts)} as of {restored.made_at} from {restored.archive}",
        f"{sum(restored.rows.values())} rows counted; {restored.seconds:.1f} s",
        *([after] if after else []),
    ]
    say(
        as_json,
        "\n".join(lines),
        archive=str(restored.archive),
        made_at=restored.made_at,
        parts=list(restored.parts),
        rows=dict(restored.rows),
        seconds=restored.seconds,
        running=restored.is_running,
        next_step=restored.next_step,
    )
