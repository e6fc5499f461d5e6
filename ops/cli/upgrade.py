"""`gatehouse upgrade`: another release, without losing a request."""

import sys
from pathlib import Path

import click


@click.command()
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--rollback", is_flag=True, help="Go back to the release that ran before.")
@click.option(
    "--ready-seconds",
    type=click.FloatRange(min=1),
    default=30,
    show_default=True,
    help="How long each service may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(source: Path | None, rollback: bool, ready_seconds: float, as_json: bool) -> None:
    """Upgrade to SOURCE, a checkout or a .tar.gz of one: backup, installation, migrations, switch, new workers.

    auth, core and edge are replaced one after the other and must be ready before the next. Whatever fails, the release
    that ran before runs again, and the exit status is 1. Works on what `gatehouse up` or systemd runs from the releases
    in GATEHOUSE_HOME, and while nothing runs. Under systemd it needs root.
    """
    from ops.cli.telling import teller  # noqa: PLC0415
    from ops.release import Home, services  # noqa: PLC0415
    from ops.release import source as sources  # noqa: PLC0415
    from ops.release.upgrading import Upgrade  # noqa: PLC0415
    from ops.stack import configuration  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415
    from ops.stack.events import Story  # noqa: PLC0415

    if rollback == (source is not None):
        raise click.UsageError("give a SOURCE, or --rollback")
    home, read = Home.find(), configuration.read()
    story = Story() if as_json else Story(teller())
    running = services.find(read.place, home)
    upgrade = Upgrade(home, read, running, story, ready_seconds=ready_seconds)
    outcome = upgrade.back() if source is None else upgrade.to(sources.read(source))
    is_stopped = isinstance(running, services.Stopped)
    _show(outcome.entry(), is_stopped, as_json)
    if is_stopped and not isinstance(services.find(read.place, home), services.Stopped):
        raise StackError("the stack was started meanwhile, perhaps with the release before: repeat this command")


def _show(entry: dict[str, object], is_stopped: bool, as_json: bool) -> None:
    from ops.cli.output import show_json  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    if as_json:
        show_json(entry)
    done = {
        "upgraded": f"{entry['to']} is current" if is_stopped else f"{entry['to']} runs and is healthy",
        "unchanged": f"{entry['to']} is current already",
        "rolled back": f"{entry['running']} runs again",
    }
    # Whatever was asked for did not come to be. The names alone do not tell: what failed may have had the same one.
    if entry["result"] not in done or entry["running"] != entry["to"]:
        if as_json:
            sys.exit(1)
        raise StackError(str(entry["reason"]))
    if not as_json:
        click.echo(f"{done[str(entry['result'])]}{'; nothing is running' if is_stopped else ''}")
