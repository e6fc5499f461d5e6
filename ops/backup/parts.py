"""What the parts of a backup consist of, apart from the database: files and values, by their names in the archive."""

import io
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import IO, NamedTuple

from common import settings
from ops import secrets
from ops.backup.archive import Readable
from ops.backup.errors import BackupFailed
from ops.stack.place import Place

SHIPPED_ROUTES = Path(__file__).resolve().parents[2] / "edge" / "routes.toml"
SHIPPED_LIMITS = SHIPPED_ROUTES.with_name("limits.toml")
PASSPHRASE = "BACKUP_PASSPHRASE"  # noqa: S105 - its name
CREDENTIALS = "gatehouse.json"
# Without these nobody signs in to the restored database and no API key is known.
_INDISPENSABLE = ("SECRET_KEY", "KEY_PEPPER")


class Source(NamedTuple):
    """One member: a file, or a value. Logs may become shorter while they are read, and are filled up then."""

    name: str
    path: Path | None = None
    content: bytes = b""
    may_shrink: bool = False

    @contextmanager
    def opened(self) -> Iterator[tuple[Readable, int]]:
        """The bytes, and how many there are now."""
        if self.path is None:
            yield io.BytesIO(self.content), len(self.content)
            return
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            yield (_Filled(file) if self.may_shrink else file), size


class _Filled(io.RawIOBase):
    """A file that never ends: zeros after its end, as tar does it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(size) or bytes(size)


def configuration(environ: Mapping[str, str]) -> Iterator[Source]:
    """`configuration/env`, the limits of tiers, and the route table with those of its includes in its directory."""
    env_file = env_file_of(environ)
    if env_file.is_file():
        yield Source("configuration/env", env_file)
    if (limits := limits_of(environ)).is_file():
        yield Source("configuration/limits.toml", limits)
    table = routes_of(environ)
    for path in _table_files(table):
        yield Source(f"configuration/routes/{path.relative_to(table.parent)}", path)


def env_file_of(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("GATEHOUSE_ENV_FILE") or ".env").absolute()


def routes_of(environ: Mapping[str, str]) -> Path:
    return Path(settings.variable("EDGE_ROUTES", environ) or SHIPPED_ROUTES).absolute()


def limits_of(environ: Mapping[str, str]) -> Path:
    return Path(settings.variable("EDGE_LIMITS", environ) or SHIPPED_LIMITS).absolute()


def _table_files(table: Path) -> list[Path]:
    """A table that cannot be read is kept as it is: judging it is the edge's business."""
    found = [table] if table.is_file() else []
    try:
        patterns = tomllib.loads(table.read_text()).get("include", [])
    except (OSError, ValueError):
        return found
    for pattern in patterns if isinstance(patterns, list) else []:
        found += [Path(name) for name in sorted(glob(str(pattern), root_dir=table.parent, recursive=True))]  # noqa: PTH207 - as the edge reads it
    inside = [Path(os.path.normpath(table.parent / path)) for path in found]
    return list(dict.fromkeys(path for path in inside if path.is_file() and path.is_relative_to(table.parent)))


def certificates(place: Place) -> Iterator[Source]:
    """Those that are links too: certbot keeps what they lead to elsewhere."""
    yield from _tree(place.var / "certs", "certificates/", follows=True)


def logs(place: Place) -> Iterator[Source]:
    yield from _tree(place.logs, "logs/", may_shrink=True)


def _tree(folder: Path, prefix: str, *, may_shrink: bool = False, follows: bool = False) -> Iterator[Source]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (follows or not path.is_symlink()):
            yield Source(f"{prefix}{path.relative_to(folder)}", path, may_shrink=may_shrink)


def secret_values(place: Place, environ: Mapping[str, str]) -> dict[str, str]:
    """Every secret this stack runs with, wherever it is set; and all else that is in the secrets directory.

    Raises BackupFailed when one is missing without which a restored database is of no use.
    """
    directory = place.var / "secrets"
    kept = [path.name for path in sorted(directory.glob("*")) if path.is_file() and not path.name.startswith(".")]
    names = dict.fromkeys([*secrets.NAMES, *kept])
    found = {name: value for name in names if (value := settings.variable(name, environ))}
    if "SECRET_KEY" not in found and (alias := settings.variable("JWT_SECRET", environ)):
        found["SECRET_KEY"] = alias
    if missing := [name for name in _INDISPENSABLE if name not in found]:
        raise BackupFailed(f"{' and '.join(missing)} cannot be found: back up as the stack's user, with its settings")
    return found


def secret_files(place: Place, environ: Mapping[str, str], *, is_encrypted: bool) -> Iterator[Source]:
    """`secrets/NAME`, and `secrets/gatehouse.json` where there is one.

    The passphrase of the backups travels only in an archive that it closes.
    """
    for name, value in secret_values(place, environ).items():
        if name != PASSPHRASE or is_encrypted:
            yield Source(f"secrets/{name}", content=f"{value}\n".encode())
    if is_encrypted and not (place.var / "secrets" / PASSPHRASE).exists():
        yield Source(f"secrets/{PASSPHRASE}", content=f"{settings.variable(PASSPHRASE, environ) or ''}\n".encode())
    if place.credentials.is_file():
        yield Source(f"secrets/{CREDENTIALS}", place.credentials)
