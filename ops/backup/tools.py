"""PostgreSQL's own programs: those of the wheel, those of the machine; connected without a password in any argument."""

import functools
import os
import re
import subprocess
from pathlib import Path

from psycopg import pq

from ops.backup.errors import BackupFailed
from ops.embedded import ServerError, postgres_programs
from ops.embedded.binaries import SYSTEM_POSTGRES, Servers

_KINDS: tuple[Servers, ...] = ("embedded", "system")


@functools.cache
def found() -> dict[int, Path]:
    """Major version → the directory that holds its pg_dump, pg_restore and psql."""
    folders = [path for pattern in SYSTEM_POSTGRES for path in Path("/").glob(pattern[1:])]
    for kind in _KINDS:
        try:
            folders.append(postgres_programs(kind))
        except ServerError:
            continue
    return {version: folder for folder in folders if (version := _version(folder))}


def for_server(version: int) -> tuple[int, Path]:
    """The oldest that can dump a server of this major version. Raises BackupFailed when all are too old."""
    usable = [tool for tool in found() if tool >= version]
    if not usable:
        newest = f"the newest here is {max(found())}" if found() else "there is none here"
        raise BackupFailed(
            f"the server is PostgreSQL {version} and needs a pg_dump of at least that version; {newest}: "
            f"install postgresql-client-{version}"
        )
    return min(usable), found()[min(usable)]


def newest() -> Path:
    """Reads what any older one wrote. Raises BackupFailed when this machine has none."""
    if not found():
        raise BackupFailed("there is no pg_restore on this machine: install PostgreSQL's client programs")
    return found()[max(found())]


def environment(database_url: str) -> dict[str, str]:
    """What libpq's programs take a connection from, in place of arguments that every user of the machine could read."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    try:
        options = pq.Conninfo.parse(database_url.encode())
    except ValueError:
        raise BackupFailed(
            "the database URL cannot be understood: check MIGRATE_DATABASE_URL or DATABASE_URL"
        ) from None
    given = {option.envvar: option.val for option in options if option.envvar and option.val is not None}
    return {**kept, "LC_ALL": "C", "PGTZ": "UTC"} | {name.decode(): value.decode() for name, value in given.items()}


def complaint(said: str) -> str:
    """The first line in which one of the programs says what is wrong."""
    lines = [line for line in said.splitlines() if re.search(r"\b(error|FATAL|ERROR|fatal)\b", line)]
    text = (lines or said.splitlines() or ["it said nothing"])[0]
    return re.sub(r"^(pg_dump|pg_restore|psql)(:<stdin>:\d+)?: |\b(error|ERROR|FATAL): +", "", text)


def _version(folder: Path) -> int | None:
    try:
        said = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\) (\d+)", said.stdout)
    return int(match[1]) if match and (folder / "pg_restore").is_file() and (folder / "psql").is_file() else None
