"""`gatehouse migrate`: the database's schema."""

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what was applied as JSON.")
def command(as_json: bool) -> None:
    """Apply what is missing to the configured database, or to the embedded one (started meanwhile if need be).

    `up` does this by itself. Each migration is one transaction; with MIGRATE_DATABASE_URL the services' own roles are
    made or renewed too.
    """
    from ops.cli.output import say  # noqa: PLC0415
    from ops.migrate import MigrationFailed  # noqa: PLC0415
    from ops.stack import configuration, prepare  # noqa: PLC0415
    from ops.stack.configuration import where  # noqa: PLC0415
    from ops.stack.database import owner_url  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    read = configuration.read()
    if fault := read.faults.get("DATABASE_URL"):
        raise StackError(f"DATABASE_URL: {fault}")
    read.place.prepare()
    secrets = read.secrets()
    with owner_url(read, secrets) as url:
        try:
            applied = prepare.migrate(url)
            if read.has_owner or read.uses_embedded_postgres:
                prepare.make_roles(url, read.database_url, secrets)
        except (MigrationFailed, KeyError) as error:
            raise StackError(_sentence(error)) from None
    done = "\n".join(f"{revision} applied" for revision in applied) or "up to date"
    say(as_json, f"{done} (database at {where(url, 5432)})", applied=applied)


def _sentence(error: Exception) -> str:
    """A KeyError is a role's password that production has not been given."""
    return f"{error.args[0]} must be set: the service's role needs it" if isinstance(error, KeyError) else str(error)
