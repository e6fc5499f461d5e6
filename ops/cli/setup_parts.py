"""The parts of `gatehouse setup` that stand alone: a database server, the first admin, a secret."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ops.setup.secret_files import SecretFiles


def read_url() -> str:
    """From standard input, unseen where somebody types: a command line stays in a history and in the process list."""
    if sys.stdin.isatty():
        return str(click.prompt("The administrator's URL", hide_input=True, err=True))
    return sys.stdin.readline().strip()


@click.command("database")
@click.option("--admin-url", help="An administrator's postgresql://… of the server; - reads it from stdin.")
@click.option(
    "--database-name", default="gatehouse", show_default=True, help="What it is called; roles are NAME_owner …"
)
@click.option("--print-sql", is_flag=True, help="Print the statements for psql and do nothing.")
@click.option("--with-passwords", is_flag=True, help="Put the kept passwords into the printed SQL.")
@click.option("--renew-passwords", is_flag=True, help="Give roles new passwords where the old are not known.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def database_command(admin_url: str | None, database_name: str, as_json: bool, **options: bool) -> None:
    """Prepare an empty PostgreSQL: a database, its owner, and a role of few rights for auth and for core.

    The administrator may be a superuser, or have CREATEDB and CREATEROLE alone, as on managed servers. The roles' URLs
    are kept below $GATEHOUSE_VAR/secrets, where the services find them. Safe to repeat.
    """
    from ops.cli.output import say  # noqa: PLC0415
    from ops.setup import database, server  # noqa: PLC0415
    from ops.setup.answers import judged  # noqa: PLC0415
    from ops.setup.server import Names  # noqa: PLC0415

    try:
        names = Names(judged("database_name", database_name))
        url = judged("admin_url", read_url() if admin_url == "-" else admin_url or "")
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    kept = _secrets_here()
    if options["print_sql"]:
        passwords = database.kept_passwords(kept, names, url) if options["with_passwords"] else None
        click.echo(server.script(names, passwords), nl=False)
        return
    if not url:
        raise click.UsageError("--admin-url must be given, or --print-sql")
    made = database.make(url, names, kept, renews=options["renew_passwords"])
    say(as_json, "\n".join(made) or "everything is there", made=made, kept=kept.made, database=names.database)


def _secrets_here() -> "SecretFiles":
    from ops.setup.machine import OfServices  # noqa: PLC0415
    from ops.setup.secret_files import SecretFiles  # noqa: PLC0415
    from ops.stack.place import Place  # noqa: PLC0415

    place = Place.find()
    if not place.var.exists():
        place.prepare()
    machine = OfServices(place.var)
    machine.directory("secrets", 0o700)
    return SecretFiles(machine, Path("/secrets"), {})


@click.command("admin")
@click.option("--email", help="Default: ADMIN_EMAIL.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def admin_command(email: str | None, as_json: bool) -> None:
    """Make the first admin of a database without users, and show password and API key once."""
    from ops.stack.errors import StackError  # noqa: PLC0415

    if email is not None:
        from ops.setup.answers import judged  # noqa: PLC0415

        try:
            judged("email", email)
        except ValueError as error:
            raise StackError(f"--email: {error}") from None
    show_admin(email, None, as_json=as_json)


@click.command("secret")
def secret_command() -> None:
    """Print a new secret: 48 random bytes as 64 characters."""
    from ops.setup.secret_files import secret  # noqa: PLC0415

    click.echo(secret())


def show_admin(email: str | None, environ: dict[str, str] | None, *, as_json: bool) -> None:
    from ops.cli.output import show_json  # noqa: PLC0415
    from ops.setup.admin import first_admin  # noqa: PLC0415

    admin = first_admin(email, environ)
    if as_json:
        show_json(admin or {})
    elif admin is None:
        click.echo("The database has its users already: no admin was made.")
    else:
        click.echo("\nThe first admin. This is shown once and stored nowhere, so keep it now:\n")
        for name, value in (
            ("address", admin["email"]),
            ("password", admin["password"]),
            ("API key", admin["api_key"]),
        ):
            click.echo(f"  {name:<10}{value}")
