"""`gatehouse migrate`: the database's schema."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ops.migrate.rehearsal import Rehearsal
    from ops.stack.configuration import Configuration


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what was applied as JSON.")
@click.option("--wait", "waits", is_flag=True, help="Wait for a database that is away, for as long as it takes.")
@click.option("--keep-urls", is_flag=True, help="Keep the services' own database URLs as secrets, where none are set.")
@click.option("--rehearse", is_flag=True, help="Apply it to a copy only; show how long it takes and whom it blocks.")
def command(as_json: bool, waits: bool, keep_urls: bool, rehearse: bool) -> None:
    """Apply what is missing to the configured database, or to the embedded one (started meanwhile if need be).

    `up` does this by itself. Each migration is one transaction; with MIGRATE_DATABASE_URL the services' own roles are
    made or renewed too. --rehearse leaves database, roles and secrets as they are; its copy is removed afterwards.
    """
    from ops.migrate import MigrationFailed  # noqa: PLC0415
    from ops.migrate.waiting import wait_for_database  # noqa: PLC0415
    from ops.stack import configuration  # noqa: PLC0415
    from ops.stack.database import owner_url  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    if rehearse and keep_urls:
        raise click.UsageError("--rehearse changes nothing, so it keeps no URLs")
    read = configuration.read()
    if fault := read.faults.get("DATABASE_URL"):
        raise StackError(f"DATABASE_URL: {fault}")
    read.place.prepare()
    secrets = read.secrets()
    with owner_url(read, secrets) as url:
        if waits:
            wait_for_database(url, lambda sentence: click.echo(sentence, err=True))
        try:
            if rehearse:
                _rehearse(url, as_json)
            else:
                _apply(read, secrets, url, as_json=as_json, keep_urls=keep_urls)
        except (MigrationFailed, KeyError) as error:
            raise StackError(_sentence(error)) from None


def _apply(read: "Configuration", secrets: dict[str, str], url: str, *, as_json: bool, keep_urls: bool) -> None:
    from ops.cli.output import say  # noqa: PLC0415
    from ops.stack import prepare  # noqa: PLC0415
    from ops.stack.configuration import where  # noqa: PLC0415

    applied = prepare.migrate(url)
    kept: list[str] = []
    if read.has_owner or read.uses_embedded_postgres:
        role_urls = prepare.make_roles(url, read.database_url, secrets)
        if keep_urls and read.has_owner:
            kept = prepare.keep_urls(read.place, role_urls)
    lines = [f"{revision} applied" for revision in applied] or ["up to date"]
    lines[-1] += f" (database at {where(url, 5432)})"
    say(as_json, "\n".join([*lines, *(f"{name} kept as a secret" for name in kept)]), applied=applied, kept=kept)


def _rehearse(url: str, as_json: bool) -> None:
    from ops.cli.output import say  # noqa: PLC0415
    from ops.interrupts import interruptible  # noqa: PLC0415
    from ops.migrate import MigrationFailed  # noqa: PLC0415
    from ops.migrate.rehearsal import rehearse  # noqa: PLC0415
    from ops.stack import prepare  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    try:
        with interruptible():
            rehearsal = rehearse(url, prepare.every_module())
    except KeyboardInterrupt:
        raise StackError("interrupted: the copy is removed, the database is as it was") from None
    say(as_json, "\n".join(_told(rehearsal)), **rehearsal.as_json())
    if rehearsal.failure is not None:
        raise MigrationFailed(f"on the copy, {rehearsal.failure}; the database is as it was")


def _told(rehearsal: "Rehearsal") -> list[str]:
    from ops.cli.output import megabytes  # noqa: PLC0415

    size = megabytes(rehearsal.copy_bytes)
    lines = [f"copy of {size} made in {rehearsal.copy_seconds:.1f} s ({rehearsal.copied_by}), removed again"]
    for migration in rehearsal.migrations:
        lines.append(f"{migration.revision}: {migration.seconds:.2f} s")
        lines += [
            f"  {lock.mode} on {lock.table} (about {lock.rows} rows): blocks {lock.blocks}" for lock in migration.locks
        ]
        lines += [] if migration.locks else ["  locks no table that was there before"]
    return lines if rehearsal.migrations or rehearsal.failure else [*lines, "nothing is pending"]


def _sentence(error: Any) -> str:
    """A KeyError is a role's password that production has not been given."""
    return f"{error.args[0]} must be set: the service's role needs it" if isinstance(error, KeyError) else str(error)
