"""Modules: how a business domain plugs itself into the core service.

A module is a package. It has

- `NAME`: the package's own name (the last part of its dotted one); also the label of its Alembic branch.
- `setup(app)`: adds its routes (`common.routes.add_routes`) and, through `app.cleanup_ctx`, its background work.
  It does no I/O itself. Handlers find what they need in the application: `request.app[DATABASE]`, `[VALKEY]`.
- `async export(connection, user_id)`: everything it holds about a user, as a dictionary that JSON can carry.
- `async purge(connection, user_id)`: deletes that. It runs inside a transaction, may run again for the same user and
  must then do nothing.
- `migrations/`, when it keeps data: an Alembic branch of its own, `branch_labels = (NAME,)`, revisions `<name>_0001` …,
  tables in the schema `core`, each with `org_id` and `user_id`.

`MODULES` lists what runs. A name without a dot is a package in this folder, found by looking; a name with dots is any
importable package (`acme_gatehouse.invoices`). So adding a module touches its own folder and that setting.

Modules never import one another. A module that is not in MODULES keeps its tables, and still forgets deleted users.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any, Protocol, cast
from uuid import UUID

import asyncpg
from aiohttp import web


class Module(Protocol):
    """What a module's package looks like from here."""

    NAME: str
    __name__: str

    def setup(self, app: web.Application) -> None: ...
    async def export(self, connection: asyncpg.Connection, user_id: UUID) -> dict[str, Any]: ...
    async def purge(self, connection: asyncpg.Connection, user_id: UUID) -> None: ...


_PARTS = ("NAME", "setup", "export", "purge")


def shipped() -> list[str]:
    """The names of the modules in this folder."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg)


def everything(names: Iterable[str]) -> list[str]:
    """The shipped modules, whether they run or not, and those of `names` that come from elsewhere."""
    return list(dict.fromkeys([*shipped(), *names]))


def load(names: Iterable[str]) -> list[Module]:
    """The modules' packages, imported. Raises ImportError or AttributeError for what is no module."""
    return [_load(name) for name in names]


def faults(names: Iterable[str]) -> list[str]:
    """Why these modules cannot run together, one sentence each; nothing when they can."""
    found: list[str] = []
    loaded: dict[str, str] = {}
    for name in names:
        try:
            module = _load(name)
        except Exception as error:  # noqa: BLE001 - a module is foreign code, its import may raise anything
            found.append(f"MODULES: {_reason(name, error)}")
            continue
        if module.NAME in loaded:
            found.append(f"MODULES: {name} and {loaded[module.NAME]} are both named {module.NAME}")
        loaded.setdefault(module.NAME, name)
    return found


def _load(name: str) -> Module:
    package = _package(name)
    missing = [part for part in _PARTS if not hasattr(package, part)]
    if missing:
        raise AttributeError(f"it has no {', '.join(missing)}")
    if name.rpartition(".")[2] != package.NAME:
        raise AttributeError(f"its NAME is {package.NAME!r}, not the package's own name")
    return cast("Module", package)


def _package(name: str) -> Any:
    if "." not in name and name not in shipped():
        raise ModuleNotFoundError(f"unknown module; known are {', '.join(shipped())}")
    return importlib.import_module(name if "." in name else f"{__name__}.{name}")


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, AttributeError | ImportError):
        return f"{name}: {error}"
    return f"{name}: its import failed ({type(error).__name__}: {error})"
