"""What this stack takes: room on disk by kind, memory and processor time by service."""

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
import redis

from common.settings import variable
from ops.embedded import Postgres, Valkey
from ops.stack.condition import condition, proportional_bytes
from ops.stack.configuration import Configuration
from ops.stack.database import running_url

_SAMPLE_SECONDS = 0.5
_CONNECT_SECONDS = 5
_DATABASE_SIZE = "SELECT pg_database_size(current_database())"


class Size(NamedTuple):
    """`size_bytes` is None where it could not be read, and `note` says why."""

    name: str
    where: str
    size_bytes: int | None
    note: str = ""


class Use(NamedTuple):
    """Memory is the proportional share (PSS); `cpu_percent` of one core, over half a second."""

    name: str
    processes: int
    memory_bytes: int
    cpu_percent: float
    cpu_seconds: float


def sizes(configuration: Configuration) -> list[Size]:
    """Databases, logs, certificates, backups."""
    var = configuration.place.var
    backups = Path(variable("BACKUP_DIRECTORY", configuration.environ) or var / "backups").expanduser()
    folders = [("logs", configuration.place.logs), ("certificates", var / "certs"), ("backups", backups)]
    return [_database(configuration), _store(configuration), *(folder(name, path) for name, path in folders)]


def folder(name: str, path: Path) -> Size:
    """As du(1) counts: blocks on disk, a file with several names once."""
    if not path.exists():
        return Size(name, str(path), 0)
    seen: set[tuple[int, int]] = set()
    total, unread = 0, 0
    for file in _files(path.resolve()):
        try:
            found = file.lstat()
        except OSError:
            unread += 1
            continue
        if (found.st_dev, found.st_ino) not in seen:
            seen.add((found.st_dev, found.st_ino))
            total += found.st_blocks * 512
    if not os.access(path, os.R_OK | os.X_OK):
        return Size(name, str(path), None, "closed to this user")
    return Size(name, str(path), total, f"{unread} files could not be read" if unread else "")


def _files(path: Path) -> Iterable[Path]:
    for directory, _, names in os.walk(path):
        yield Path(directory)
        yield from (Path(directory, name) for name in names)


def _database(configuration: Configuration) -> Size:
    if configuration.uses_embedded_postgres:
        found = folder("database", configuration.place.var / "pg")
        url = running_url(Postgres, configuration) if found.size_bytes is None else None
    else:
        found, url = Size("database", "", None), configuration.owner_url
    if url is None:
        return found
    where = ""
    try:
        name = psycopg.conninfo.conninfo_to_dict(url)
        where = f"{name.get('dbname')} at {name.get('host')}"
        with psycopg.connect(url, connect_timeout=_CONNECT_SECONDS, prepare_threshold=None) as connection:
            row = connection.execute(_DATABASE_SIZE).fetchone()
    except psycopg.Error as error:
        return Size("database", where, None, " ".join(str(error).split())[:120])
    return Size("database", where, int(row[0]) if row else None)


def _store(configuration: Configuration) -> Size:
    """In memory: nothing of it is on disk."""
    url = configuration.redis_url or running_url(Valkey, configuration)
    if url is None:
        return Size("store", "in memory", 0, "not running")
    try:
        with redis.Redis.from_url(
            url, socket_timeout=_CONNECT_SECONDS, socket_connect_timeout=_CONNECT_SECONDS
        ) as client:
            return Size("store", "in memory", int(client.info("memory")["used_memory"]))
    except (redis.RedisError, ValueError) as error:
        return Size("store", "in memory", None, str(error))


def disk(configuration: Configuration) -> dict[str, Any]:
    """Of the file system that the state is on, in bytes."""
    var = configuration.place.var
    nearest = next(step for step in (var, *var.parents) if step.exists())
    found = shutil.disk_usage(nearest)
    return {"path": str(nearest), "total_bytes": found.total, "free_bytes": found.free}


def uses(configuration: Configuration) -> list[Use]:
    """Of each service and embedded server; of the controller's, else of systemd's. Takes half a second."""
    status = condition(configuration.place) or {"services": [], "servers": []}
    pids = {entry["name"]: entry["pids"] for entry in (*status["services"], *status["servers"])}
    return _measured({name: found for name, found in pids.items() if found})


def _measured(pids: Mapping[str, list[int]]) -> list[Use]:
    before, started = {name: _cpu_seconds(found) for name, found in pids.items()}, time.monotonic()
    time.sleep(_SAMPLE_SECONDS)
    elapsed = time.monotonic() - started
    uses = []
    for name, found in pids.items():
        seconds = _cpu_seconds(found)
        percent = max(0.0, seconds - before[name]) / elapsed * 100
        memory = sum(proportional_bytes(pid) for pid in found)
        uses.append(Use(name, len(found), memory, round(percent, 1), round(seconds, 2)))
    return uses


def _cpu_seconds(pids: Iterable[int]) -> float:
    total = 0.0
    for pid in pids:
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total
