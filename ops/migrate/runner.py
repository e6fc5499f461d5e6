"""Plans and runs the steps of Alembic's branches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationInfo, MigrationStep, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from ops.migrate.database import (
    LOCK_SECONDS,
    LOCK_TIMEOUT,
    SERVICE_SCHEMAS,
    STATEMENT_TIMEOUT,
    VERSION_SCHEMA,
    Connection,
    MigrationFailed,
    owner,
    said,
)
from ops.migrate.locations import shipped_locations

Heads = tuple[str, ...]
Plan = Callable[[ScriptDirectory, Heads], Sequence[RevisionStep]]


def migrate(
    database_url: str,
    *,
    modules: Iterable[str] | None = None,
    locations: Mapping[str, Path] | None = None,
    lock_seconds: float = LOCK_SECONDS,
    lock_timeout: str = LOCK_TIMEOUT,
    statement_timeout: str = STATEMENT_TIMEOUT,
    observer: "Observer | None" = None,
) -> list[str]:
    """Upgrade auth, core and the enabled modules to their heads; the revisions applied, in order.

    `modules` are names as in MODULES (None: all shipped); `locations` maps branches to folders (None: as shipped, with
    third-party modules). A disabled module keeps its tables; recorded revisions whose files are gone are left alone.
    Each migration is one transaction: a failing one leaves no trace, those before it stay.
    Raises MigrationFailed.
    """
    enabled = None if modules is None else tuple(modules)
    branches = None if enabled is None else {*SERVICE_SCHEMAS, *(name.rpartition(".")[2] for name in enabled)}

    def plan(script: ScriptDirectory, heads: Heads) -> list[RevisionStep]:
        targets = [head for head in script.get_heads() if branches is None or _labels(script, head) & branches]
        revisions = list(script.iterate_revisions(tuple(targets), heads, implicit_base=True)) if targets else []
        return [MigrationStep.upgrade_from_script(script.revision_map, revision) for revision in reversed(revisions)]

    folders = shipped_locations(enabled or ()) if locations is None else locations
    with owner(
        database_url, lock_seconds=lock_seconds, lock_timeout=lock_timeout, statement_timeout=statement_timeout
    ) as connection:
        return _run(connection, folders, plan, observer)


def downgrade(
    database_url: str, branch: str, *, to: str = "base", locations: Mapping[str, Path] | None = None
) -> list[str]:
    """Take one branch back to revision `to`; the revisions undone, in order. Raises MigrationFailed."""

    def plan(script: ScriptDirectory, heads: Heads) -> list[RevisionStep]:
        revisions = script.iterate_revisions(heads, f"{branch}@{to}", select_for_downgrade=True)
        return [MigrationStep.downgrade_from_script(script.revision_map, revision) for revision in revisions]

    with owner(database_url) as connection:
        return _run(connection, shipped_locations() if locations is None else locations, plan)


class _KnownHeads(MigrationContext):
    """Sees only the recorded revisions whose files are here: a module that was taken out keeps its row and tables."""

    def get_current_heads(self) -> Heads:
        script = cast("ScriptDirectory", self.script)
        known = {revision.revision for revision in script.walk_revisions()}
        return tuple(head for head in super().get_current_heads() if head in known)


class Observer(Protocol):
    """Watches each migration from inside."""

    def begins(self, revision: str) -> None:
        """Its transaction is about to begin."""

    def has_run(self, revision: str, connection: Connection) -> None:
        """It is about to be committed; `connection` is in its transaction and holds its locks."""


def _run(
    connection: Connection, folders: Mapping[str, Path], plan: Plan, observer: Observer | None = None
) -> list[str]:
    """Every failure becomes one sentence here: a migration is a file of anybody's making and may raise anything."""
    done: list[str] = []
    doing = "the migrations cannot be planned"

    def steps(heads: Heads, context: MigrationContext) -> Iterator[RevisionStep]:
        nonlocal doing
        for step in plan(cast("ScriptDirectory", context.script), heads):
            doing = f"migration {step.revision.revision} failed"
            if observer:
                observer.begins(step.revision.revision)
            yield step
            done.append(step.revision.revision)

    try:
        _execute(connection, _scripts(folders), steps, observer)
    except Exception as error:
        raise MigrationFailed(f"{doing}: {said(error)}") from error
    return done


def _scripts(folders: Mapping[str, Path]) -> ScriptDirectory:
    here = Path(__file__).parent
    # Alembic takes an empty list for "the default folder", so no folders at all are one that does not exist.
    return ScriptDirectory(here, version_locations=list(folders.values()) or [here / "none"])


def _labels(script: ScriptDirectory, head: str) -> set[str]:
    return set(script.get_revision(head).branch_labels)


def _execute(
    connection: Connection,
    script: ScriptDirectory,
    steps: Callable[..., Iterable[RevisionStep]],
    observer: Observer | None,
) -> None:
    """What Alembic's env.py does elsewhere, without files of configuration."""

    def has_run(step: MigrationInfo, **_: object) -> None:
        assert observer
        observer.has_run(str(step.up_revision_id), connection)

    connection.autocommit = False
    engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=NullPool)
    options: dict[str, Any] = {
        "fn": steps,
        "script": script,
        "version_table_schema": VERSION_SCHEMA,
        "transaction_per_migration": True,
        "on_version_apply": (has_run,) if observer else (),
    }
    with engine.connect() as wrapped:
        context = _KnownHeads(wrapped.dialect, wrapped, options)
        with Operations.context(context):
            context.run_migrations()
