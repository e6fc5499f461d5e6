"""`gatehouse setup`: from an empty machine to production."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ops.cli.setup_parts import admin_command, database_command, read_url, secret_command, show_admin

if TYPE_CHECKING:
    from ops.setup.answers import Answers
    from ops.setup.step import Step

Command = TypeVar("Command", bound=Callable[..., Any])
# Each answer as an option; the interactive form asks for those that are not given.
_ANSWERS = {
    "domains": "Hosts served, comma-separated: api.example.com,*.example.com.",
    "email": "The first admin's address; also told to the certificate authority.",
    "database": "`local` (--host), `embedded` (--directory), or postgresql://…, a database that is ready.",
    "admin-url": "An administrator's postgresql://…: database and roles are made on that server; - reads stdin.",
    "database-name": "What the database is called there.  [gatehouse]",
    "store": "`local` (--host), `embedded` (--directory), or redis://… .",
    "workers": "Worker processes of each service.",
    "port": "Port of the edge on 127.0.0.1.  [8080]",
    "front": "What ends TLS in front, if it is to be set up: nginx, caddy or none.",
    "alert-hook": "A program or an http(s) URL that is told what went wrong.",
}


def _answers(command: Command) -> Command:
    for name, text in reversed(_ANSWERS.items()):
        command = click.option(f"--{name}", default=None, help=text)(command)
    return command


@click.group(invoke_without_command=True)
@click.option("--host", "is_host", is_flag=True, help="This Debian or Ubuntu machine, with systemd; as root.")
@click.option("--directory", type=click.Path(path_type=Path), help="A directory: DIR/.env and DIR/var/secrets.")
@_answers
@click.option("--source", type=click.Path(path_type=Path), help="The first release: a checkout or .tar.gz.  [this one]")
@click.option(
    "--root", type=click.Path(path_type=Path), help="With --host: install below this directory, start nothing."
)
@click.option("--no-start", is_flag=True, help="With --host: install everything, start nothing.")
@click.option("--renew-passwords", is_flag=True, help="Give database roles new passwords where the old are not known.")
@click.option("--yes", is_flag=True, help="Ask nothing: take options, earlier answers, defaults.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, change nothing.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Set up production: settings, secrets, database, and with --host all that a machine needs around them.

    Safe to repeat: what is right stays, no secret is replaced, and lines of the settings file that you wrote are kept.
    """
    if ctx.invoked_subcommand is None:
        _setup(**options)


for _command in (database_command, admin_command, secret_command):
    command.add_command(_command)


def _setup(is_host: bool, directory: Path | None, root: Path | None, yes: bool, dry_run: bool, **options: Any) -> None:
    from ops.setup import directory as in_directory  # noqa: PLC0415
    from ops.setup import host as on_host  # noqa: PLC0415
    from ops.setup.answers import from_settings  # noqa: PLC0415
    from ops.setup.asking import collect  # noqa: PLC0415
    from ops.setup.machine import Machine  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    if is_host == (directory is not None):
        raise click.UsageError("say --host (this machine, with systemd) or --directory DIR (settings and secrets only)")
    machine = Machine(root or Path("/"), only_shows=dry_run)
    if is_host and machine.is_real and os.geteuid() != 0:
        raise StackError("--host looks into and changes what is root's: run it as root (sudo)")
    known = in_directory.known(directory) if directory else on_host.known(machine)
    before = from_settings(known, is_host=is_host)
    if is_host:
        before["front"] = on_host.front_before(machine, known)
    answers, wrong = collect(_given(options), before, is_host=is_host, asks=not yes)
    wrong += in_directory.faults(answers) if directory else on_host.faults(machine, answers)
    if wrong:
        raise StackError("\n".join(dict.fromkeys(wrong)))
    renews = options["renew_passwords"]
    starts = not options["no_start"] and machine.is_real
    if directory:
        steps = in_directory.steps(directory, answers, only_shows=dry_run, renews=renews)
    else:
        source = options["source"] or on_host.SOURCE
        steps = on_host.steps(machine, answers, source=source, renews=renews, starts=starts)
    settings = in_directory.settings(directory, answers) if directory else on_host.settings(machine, answers)
    _confirm(answers, settings, steps, asks=not yes, dry_run=dry_run)
    _go(steps, dry_run=dry_run)
    if is_host and starts and not dry_run:
        _finish(answers)
    elif directory and not dry_run:
        place = shlex.quote(str(directory))
        click.echo(f"\nStart it with: cd {place} && gatehouse up --detach && gatehouse setup admin")


def _given(options: dict[str, Any]) -> dict[str, str]:
    """The answers among the options."""
    found = {name: options[name.replace("-", "_")] for name in _ANSWERS}
    given = {name.replace("-", "_"): value for name, value in found.items() if value is not None}
    return given | ({"admin_url": read_url()} if given.get("admin_url") == "-" else {})


def _confirm(answers: "Answers", settings: dict[str, str], steps: "list[Step]", *, asks: bool, dry_run: bool) -> None:
    from ops.setup.answers import shown  # noqa: PLC0415

    click.echo("This is going to be set up:")
    for name, value in settings.items():
        if value:
            click.echo(f"  {name}={shown(value)}")
    places = {"database": answers.database, "store": answers.store, "front": answers.front}
    click.echo("  " + ", ".join(f"{name}: {shown(value)}" for name, value in places.items()))
    click.echo(f"  in {len(steps)} steps: {', '.join(step.name.lower() for step in steps)}\n")
    if asks and not dry_run:
        click.confirm("Go on?", default=True, abort=True, err=True)


def _go(steps: "list[Step]", *, dry_run: bool) -> None:
    from ops.setup.step import go  # noqa: PLC0415

    def tell(name: str, done: list[str]) -> None:
        mark = click.style("✓", fg="green", bold=True) if done else click.style("=", dim=True)
        click.echo(f"{mark} {name:<12}{done[0] if done else 'as it should be'}")
        for line in done[1:]:
            click.echo(f"  {'':<12}{line}")

    changed = go(steps, tell)
    if dry_run:
        click.echo(f"\nNothing was changed; {len(changed)} of {len(steps)} steps would do something.")


def _finish(answers: "Answers") -> None:
    """Waits for the stack, and shows the first admin's password for the only time."""
    from ops.setup import place  # noqa: PLC0415
    from ops.setup.admin import wait_until_ready  # noqa: PLC0415

    away = wait_until_ready(f"http://127.0.0.1:{answers.port}")
    click.echo(f"\nReady{', without ' + ', '.join(away) if away else ''}: {answers.public_url}")
    environ = {"GATEHOUSE_VAR": str(place.VAR), "GATEHOUSE_ENV_FILE": str(place.ENV_FILE)}
    show_admin(answers.email, environ, as_json=False)
