"""The secrets a stack makes for itself on its first run: `$GATEHOUSE_VAR/secrets/NAME`, one value a file."""

import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

NAMES = (
    "SECRET_KEY",
    "KEY_PEPPER",
    "AUTH_SERVICE_KEY",
    "CORE_SERVICE_KEY",
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    "AUTH_DB_PASSWORD",
    "CORE_DB_PASSWORD",
)


class SecretsError(Exception):
    """A secret cannot be used; the text is one sentence that names it and never shows it."""


def ensure(
    var: Path, environ: Mapping[str, str] | None = None, *, dotenv: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Every secret by name, in the order of all settings: environ, NAME_FILE, the secrets directory, dotenv.

    What is found nowhere is generated and kept in the directory; nothing there is ever overwritten.
    Raises SecretsError for a file that is empty or that other users can read.
    """
    given = os.environ if environ is None else environ
    directory = var / "secrets"
    return {name: _from_environ(name, given) or _from_directory(name, directory, dotenv or {}) for name in NAMES}


def read(path: Path) -> str:
    """One secret file's value. Raises SecretsError when it is empty or others can read it."""
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SecretsError(f"{path} is open to other users (mode {stat.S_IMODE(mode):04o}): run chmod 600 {path}")
    value = path.read_text().strip()
    if not value:
        raise SecretsError(f"{path} is empty: put the secret back, or remove the file to have a new one made")
    return value


def _from_environ(name: str, environ: Mapping[str, str]) -> str | None:
    if environ.get(name):
        return environ[name]
    if file := environ.get(f"{name}_FILE"):
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise SecretsError(f"{name}_FILE cannot be read: {error.strerror}: {file}") from error
    return None


def _from_directory(name: str, directory: Path, dotenv: Mapping[str, str]) -> str:
    path = directory / name
    if not path.exists():
        if dotenv.get(name):
            return dotenv[name]
        _create(path)
    return read(path)


def _create(path: Path) -> None:
    """Write aside and link into place: the name appears with its whole content, and an existing one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another starter was first: its value counts
            os.link(aside, path)
    finally:
        aside.unlink()
