"""The interpreter and what was installed for it."""

import platform
import sys
from importlib import import_module

from ops.embedded import ServerError, postgres_programs, valkey_program
from ops.stack.configuration import Configuration
from ops.stack.doctor import Finding

PYTHON_MIN = (3, 11)
# Without their compiled parts these are absent or slow.
_COMPILED = ("aiohttp._http_parser", "httptools", "orjson", "uvloop", "asyncpg.protocol.protocol", "hiredis")


def python() -> Finding:
    found = platform.python_version()
    if sys.version_info[:2] < PYTHON_MIN:
        return Finding("Python", "fail", found, "install Python 3.11 or newer and run `make clean run PYTHON=...`")
    return Finding("Python", "ok", f"{found}, {sys.platform}-{platform.machine()}")


def wheels(configuration: Configuration) -> Finding:
    """Compiled packages, and the embedded servers' programs where they are used."""
    missing = [name for name in _COMPILED if not _imports(name)]
    if missing:
        return Finding(
            "Packages", "fail", f"not usable: {', '.join(missing)}", "run `make clean run` to install them again"
        )
    try:
        if configuration.uses_embedded_postgres:
            postgres_programs()
        if configuration.uses_embedded_valkey:
            valkey_program()
    except ServerError as error:
        return Finding("Packages", "fail", str(error), "use servers of your own")
    return Finding("Packages", "ok", "compiled parts and embedded servers are there for this platform")


def _imports(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True
