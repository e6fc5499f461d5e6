"""Restores from an archive: everything is checked and put aside first, then it takes its places at once.

The database is replaced in one transaction. When all of it is in and counted, the secrets and certificates are renamed
into place, and then the transaction commits. Until that moment nothing has changed; whatever fails before it leaves
data, secrets and certificates as they were, and the stack is started again. A process killed between the renaming and
the commit (milliseconds) leaves old data with new secrets: the same restore again completes it.
"""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops import interrupts
from ops.backup import elsewhere, turns, unpacking
from ops.backup.choosing import Say
from ops.backup.errors import BackupFailed
from ops.backup.loading import all_roles_exist, load
from ops.backup.making import Progress
from ops.backup.planning import Plan
from ops.backup.swap import Swap
from ops.embedded import Postgres, ServerError
from ops.stack import prepare
from ops.stack.configuration import Configuration
from ops.stack.database import running_url
from ops.stack.errors import StackError
from ops.stack.pausing import exclusive, paused

_STOPPING_PARTS = {"database", "secrets"}
_START_SECONDS_MAX = 180


@dataclass(frozen=True)
class Restored:
    """rows: "schema.table" → rows, counted before the commit. next_step: what is left to do by hand, or empty."""

    archive: Path
    made_at: str
    parts: tuple[str, ...]
    rows: Mapping[str, int]
    seconds: float
    is_running: bool
    next_step: str


def restore(
    planned: Plan, *, starts: bool = True, progress: Progress = lambda *_: None, say: Say = lambda _: None
) -> Restored:
    """Does it, and returns when the stack is ready, or stopped where somebody else starts it. In the main thread only.

    starts   False: where nothing ran before, nothing runs afterwards
    Raises StackError; then everything is as it was, and running if it was.
    """
    started, read = time.monotonic(), planned.read
    next_step, is_running = "", False
    with _told_when_done() as done, exclusive(read.place), turns.restoring(read.place):
        if read.place.holder() is not None:
            with paused(read.place) if _STOPPING_PARTS & set(planned.parts) else ExitStack():
                _replace(planned, progress, done)
            is_running = True
        else:
            _refuse_while_running(read)
            with read.place.taken():
                _replace(planned, progress, done)
            keeper = elsewhere.manager(read)
            if keeper is not None:
                next_step = keeper.start
            elif starts and _STOPPING_PARTS & set(planned.parts):
                say("starting the stack")
                _start(read)
                is_running = True
    dumped = planned.manifest.database
    return Restored(
        archive=planned.archive,
        made_at=planned.manifest.made_at,
        parts=planned.parts,
        rows=dumped.rows if dumped and "database" in planned.parts else {},
        seconds=round(time.monotonic() - started, 1),
        is_running=is_running,
        next_step=next_step,
    )


@contextmanager
def _told_when_done() -> Iterator[list[bool]]:
    """What fails after everything is restored is not told as if before; the list holds something by then."""
    done: list[bool] = []
    try:
        yield done
    except KeyboardInterrupt:
        if not done:
            raise
        raise StackError("interrupted, but everything is restored: gatehouse status shows what runs") from None
    except StackError as error:
        if not done:
            raise
        raise StackError(f"everything is restored, but {error}") from None


def _replace(planned: Plan, progress: Progress, done: list[bool]) -> None:
    with _said(planned), closing(Swap(planned.read.place)) as swap:
        _make_passwords(planned)
        _stage(planned, swap)
        if "database" in planned.parts and planned.manifest.database is not None:
            with _database(planned) as url:
                _replace_database(planned, url, swap, progress, done)
        else:
            with interrupts.deferred():
                _apply(swap)
                swap.keep()
                done.append(True)


@contextmanager
def _said(planned: Plan) -> Iterator[None]:
    """A full disk and the like, in one sentence."""
    try:
        yield
    except OSError as error:
        text = f"{error.filename or planned.read.place.var}: {error.strerror or error}"
        raise BackupFailed(text if error.errno != errno.ENOSPC else f"{text}; make room there") from None


def _replace_database(planned: Plan, url: str, swap: Swap, progress: Progress, done: list[bool]) -> None:
    assert planned.manifest.database
    total = sum(member.size for member in planned.manifest.members if member.name.startswith("database/"))
    _ensure_roles(planned, url)
    with ExitStack() as uninterrupted:

        def put_files_in_place() -> None:
            uninterrupted.enter_context(interrupts.deferred())
            _apply(swap)

        try:
            load(
                url,
                planned.archive,
                planned.passphrase,
                planned.manifest.database,
                before_commit=put_files_in_place,
                progress=lambda done: progress("Database", done, total),
            )
        except BaseException:
            swap.undo()
            raise
        swap.keep()
        done.append(True)
    _settle(planned, url)


def _stage(planned: Plan, swap: Swap) -> None:
    read, path, passphrase = planned.read, planned.archive, planned.passphrase
    if "secrets" in planned.parts:
        unpacking.stage_secrets(swap, read, planned.secrets)
    if "certificates" in planned.parts:
        unpacking.stage_certificates(swap, read, path, passphrase)
    if "configuration" in planned.parts:
        unpacking.stage_configuration(swap, read, path, passphrase)
    if "logs" in planned.parts:
        unpacking.stage_logs(swap, read, path, passphrase)


def _apply(swap: Swap) -> None:
    try:
        swap.apply()
    except OSError as error:
        swap.undo()
        raise BackupFailed(f"{error.filename} cannot be replaced: {error.strerror}") from None


@contextmanager
def _database(planned: Plan) -> Iterator[str]:
    """The owner's URL; the embedded server is started meanwhile, and made where there is none."""
    read = planned.read
    if read.owner_url is not None:
        yield read.owner_url
        return
    if (url := running_url(Postgres, read) if read.place.holder() not in {None, os.getpid()} else None) is not None:
        yield url
        return
    passwords = _server_secrets(planned)
    if "POSTGRES_PASSWORD" not in passwords:
        raise BackupFailed("POSTGRES_PASSWORD must be set: the archive holds no secrets and neither does this place")
    try:
        with Postgres(read.place.var, passwords) as server:
            yield server.url
    except ServerError as error:
        raise StackError(str(error)) from None


def _make_passwords(planned: Plan) -> None:
    """Where the embedded server is about to be made; before the secrets are staged, which then hold them."""
    place = planned.read.place
    is_needed = "database" in planned.parts and planned.read.owner_url is None
    if is_needed and not os.path.lexists(place.var / "pg"):
        unpacking.adopt_server_passwords(place.var / "secrets", planned.secrets)


def _server_secrets(planned: Plan) -> dict[str, str]:
    """As they are on this machine, whatever the archive says."""
    values = unpacking.merged_secrets(planned.secrets, planned.read.place.var / "secrets")
    found = {name: content.decode().strip() for name, content in values.items()}
    found |= {name: value for name in found if (value := planned.read.environ.get(name))}
    return found


def _ensure_roles(planned: Plan, url: str) -> None:
    """The services' roles must be there before rights are given to them. Those that are keep their passwords."""
    read = planned.read
    if not (read.uses_embedded_postgres or read.has_owner):
        return
    from ops.migrate import MigrationFailed  # noqa: PLC0415

    try:
        if not all_roles_exist(url):
            prepare.make_roles(url, read.database_url, _server_secrets(planned))
    except MigrationFailed as error:
        raise BackupFailed(str(error)) from None


def _settle(planned: Plan, url: str) -> None:
    """What a start would do, for those that are started by somebody else: the newest schema, and rights on it."""
    read = planned.read
    if elsewhere.manager(read) is None:
        return
    from ops.migrate import MigrationFailed  # noqa: PLC0415

    try:
        prepare.migrate(url)
        if read.has_owner:
            prepare.make_roles(url, read.database_url, _server_secrets(planned))
    except MigrationFailed as error:
        raise BackupFailed(f"{error}: run gatehouse migrate") from None


def _refuse_while_running(read: Configuration) -> None:
    if running := elsewhere.services_running(read):
        keeper = elsewhere.manager(read) or elsewhere.BY_HAND
        raise StackError(f"{', '.join(running)} still {'runs' if len(running) == 1 else 'run'}: {keeper.stop}")


def _start(read: Configuration) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli", "up", "--detach"],
            env=dict(read.environ),
            capture_output=True,
            text=True,
            timeout=_START_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"the stack was not ready within {_START_SECONDS_MAX} s: see {read.place.logs}") from None
    if done.returncode:
        said = done.stderr.strip().removeprefix("error: ") or "it said nothing"
        raise StackError(f"the stack does not start: {said}")
