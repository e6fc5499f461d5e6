"""A passing child of the controller: checks the services' settings, then migrates and makes the first admin.

Apart because what it imports (three services, Alembic) would stay in the controller's memory, and because a child can
be stopped at any point. It speaks JSON lines on its standard output; see `preparation.py` for the other end.
"""

import asyncio
import json
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import IO, Any
from urllib.parse import urlsplit

from ops.stack.errors import StackError
from ops.stack.place import MODULES, Place

_FAULT = re.compile(r"([A-Z][A-Z0-9_]+):? (.+)")


def check() -> dict[str, Any]:
    """Every service's plan, and every fault of all of them by variable: `{"plans", "faults"}`."""
    plans: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name, package in MODULES.items():
        try:
            plans[name] = import_module(f"{package}.app").check()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told and nothing is started
            for line in _lines(name, error):
                match = _FAULT.fullmatch(line)
                variable, text = (match[1], match[2]) if match else (line, "")
                faults.setdefault(variable, text)
    return {"plans": plans, "faults": faults}


def migrate(owner_url: str) -> list[str]:
    """Everything shipped, enabled or not (a disabled module forgets deleted users too), and the third-party modules."""
    from ops import migrate as migrations  # noqa: PLC0415 - slow; meanwhile the servers start

    return migrations.migrate(owner_url, modules=every_module())


def every_module() -> Sequence[str]:
    """Names as in MODULES of all whose tables are kept up to date."""
    from pydantic import TypeAdapter  # noqa: PLC0415

    from common.settings import CommaList, variable  # noqa: PLC0415
    from core_service import modules  # noqa: PLC0415

    return list(modules.everything(TypeAdapter(CommaList).validate_python(variable("MODULES") or "")))


def make_roles(owner_url: str, service_url: str | None, passwords: Mapping[str, str]) -> dict[str, str]:
    """AUTH_DATABASE_URL and CORE_DATABASE_URL. Roles belong to the whole server: they are named after the database."""
    from ops.migrate import create_roles  # noqa: PLC0415

    prefix = urlsplit(owner_url).path.strip("/") or "gatehouse"
    return create_roles(owner_url, passwords, service_url=service_url, prefix=prefix)


def keep_urls(place: Place, role_urls: Mapping[str, str]) -> list[str]:
    """Keeps the services' URLs in `secrets/`, where they read them when nobody composes their environment.

    Those that are set anywhere already stay. The names of those kept.
    """
    from common.settings import variable  # noqa: PLC0415
    from ops.docker.files import write  # noqa: PLC0415

    missing = {name: url for name, url in role_urls.items() if not variable(name)}
    for name, url in missing.items():
        (place.var / "secrets").mkdir(mode=0o700, exist_ok=True)
        write(place.var / "secrets" / name, url + "\n")
    return list(missing)


def make_admin(database_url: str, email: str, pepper: str) -> dict[str, str] | None:
    """The first admin and a key of theirs; None when there is one."""
    from auth_service.bootstrap import ensure_admin  # noqa: PLC0415

    try:
        admin = asyncio.run(ensure_admin(database_url, pepper=pepper, email=email))
    except ValueError as error:
        raise StackError(f"ADMIN_EMAIL: {email} is no e-mail address that an account can have") from error
    return {"email": admin.email, "password": admin.password, "api_key": admin.api_key} if admin else None


_ACTIONS = {"migrate": migrate, "make_roles": make_roles, "make_admin": make_admin}


def main() -> None:
    answers = _private_stdout()
    _answer(answers, check())
    import_module("ops.migrate")  # while the controller starts the servers
    import_module("auth_service.bootstrap")
    for line in sys.stdin:
        order = json.loads(line)
        try:
            _answer(answers, {"result": _ACTIONS[order["action"]](**order["arguments"])})  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - the controller tells it and stops
            _answer(answers, {"error": "\n".join(_lines(order["action"], error))})


def _private_stdout() -> IO[str]:
    """What an import or a migration prints must not be taken for an answer: it goes to the log."""
    private = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return private


def _answer(answers: IO[str], message: Mapping[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _lines(doing: str, error: Exception) -> Sequence[str]:
    """Our own errors carry their sentences; any other is a defect, whose trace goes to the log."""
    if type(error).__module__ != "builtins" and str(error):
        return str(error).splitlines()
    traceback.print_exc()
    return [f"{doing} failed: {type(error).__name__}: {error}"]


if __name__ == "__main__":
    main()
