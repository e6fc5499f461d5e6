"""The parts of an archive that are files: put aside, ready to take their places."""

import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_urlsafe
from typing import IO

from ops.backup import archive, parts
from ops.backup.swap import Swap
from ops.stack.configuration import Configuration

# What opens the servers of this machine. A restore into a running stack must not change the locks under it.
_OF_SERVERS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "AUTH_DB_PASSWORD", "CORE_DB_PASSWORD")


def is_of_servers(name: str) -> bool:
    """Whether a secret belongs to this machine's servers rather than to the data."""
    return name in _OF_SERVERS or name.endswith("_URL")


def read_secrets(path: Path, passphrase: str | None) -> dict[str, bytes]:
    """The members of the secrets' part by name, `gatehouse.json` among them."""
    return {name: archive.read_small(name, content) for name, content in _members(path, passphrase, "secrets/")}


def conflicts(given: Mapping[str, bytes], environ: Mapping[str, str]) -> list[str]:
    """The secrets that the environment sets to another value than the archive has: they would win over it."""
    found = []
    for name, content in given.items():
        value = _in_environment(name, environ)
        if value is not None and value != content.decode().strip() and not is_of_servers(name):
            found.append(name)
    return [name for name in found if name not in {parts.CREDENTIALS, parts.PASSPHRASE}]


def _in_environment(name: str, environ: Mapping[str, str]) -> str | None:
    names = [name, "JWT_SECRET"] if name == "SECRET_KEY" else [name]
    for known in names:
        if environ.get(known):
            return environ[known]
        if file := environ.get(f"{known}_FILE"):
            return Path(file).read_text().strip()
    return None


def merged_secrets(given: Mapping[str, bytes], directory: Path) -> dict[str, bytes]:
    """What the secrets directory is to hold: the archive's, and this machine's for its servers.

    An archive never says which servers are used: restored somewhere else, as by a drill, it would lead to the very ones
    that it was made from.
    """
    # What only this machine has stays too.
    here = {path.name: path.read_bytes() for path in directory.glob("*") if path.is_file() and path.name[0] != "."}
    kept = {name: content for name, content in here.items() if is_of_servers(name) or name not in given}
    adopted = {name: content for name, content in given.items() if not name.endswith("_URL")}
    return {name: content for name, content in {**adopted, **kept}.items() if name != parts.CREDENTIALS}


def stage_secrets(swap: Swap, read: Configuration, given: Mapping[str, bytes]) -> None:
    directory = read.place.var / "secrets"
    staged = swap.stage()
    for name, content in merged_secrets(given, directory).items():
        _write(staged / name, content)
    swap.put(staged, directory)
    credentials = None
    if parts.CREDENTIALS in given and not read.is_production:
        credentials = swap.stage() / parts.CREDENTIALS
        _write(credentials, given[parts.CREDENTIALS])
    swap.put(credentials, read.place.credentials)
    swap.put(None, read.place.run / "admin.json")  # the password of an admin who will not be there


def adopt_server_passwords(directory: Path, given: Mapping[str, bytes]) -> None:
    """In an empty place the servers are made with the archive's passwords, kept at once: they fit from then on.

    An archive of a stack whose servers are elsewhere has none for ours; they get new ones.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in _OF_SERVERS:
        if not (directory / name).exists():
            _write(directory / name, given.get(name) or f"{token_urlsafe(48)}\n".encode())


def stage_certificates(swap: Swap, read: Configuration, path: Path, passphrase: str | None) -> None:
    """An archive without any leaves those that are there."""
    staged = swap.stage()
    if _unpack(path, passphrase, "certificates/", staged):
        swap.put(staged, read.place.var / "certs")


def stage_configuration(swap: Swap, read: Configuration, path: Path, passphrase: str | None) -> None:
    """The settings file, limits, and the route table with what it includes, each to where this stack has its own."""
    staged = swap.stage()
    _unpack(path, passphrase, "configuration/", staged)
    if (staged / "env").exists():
        swap.put(staged / "env", parts.env_file_of(read.environ))
    limits = parts.limits_of(read.environ)
    # What ships belongs to the release, not to the host; so does the table below.
    if (staged / "limits.toml").exists() and limits != parts.SHIPPED_LIMITS:
        swap.put(staged / "limits.toml", limits)
    table = parts.routes_of(read.environ)
    for file in sorted((staged / "routes").rglob("*")):
        if file.is_file() and (table != parts.SHIPPED_ROUTES or file.name != parts.SHIPPED_ROUTES.name):
            swap.put(file, table.parent / file.relative_to(staged / "routes"))


def stage_logs(swap: Swap, read: Configuration, path: Path, passphrase: str | None) -> Path:
    """Beside those that are written today. Returns where."""
    staged = swap.stage()
    _unpack(path, passphrase, "logs/", staged)
    target = read.place.logs / f"restored-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    swap.put(staged, target)
    return target


def _members(path: Path, passphrase: str | None, prefix: str) -> Iterator[tuple[str, IO[bytes]]]:
    with archive.reading(path, passphrase) as members:
        for name, content in members:
            if name.startswith(prefix):
                yield name.removeprefix(prefix), content


def _unpack(path: Path, passphrase: str | None, prefix: str, folder: Path) -> int:
    """How many files there were; `archive.reading` has refused names that lead out of the folder."""
    count = 0
    for name, content in _members(path, passphrase, prefix):
        target = folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _new_file(target) as file:
            shutil.copyfileobj(content, file)
        count += 1
    return count


def _write(path: Path, content: bytes) -> None:
    with _new_file(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _new_file(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
