"""`python -m ops.docker.bootstrap`: the second one-shot of the compose stacks. Migrations, roles, the first admin.

With `--check` the settings of all services are checked first (`gatehouse start`).
"""

import os
import sys
from collections.abc import Mapping

from common.settings import SettingsError, variable
from ops.docker.files import write
from ops.migrate import MigrationFailed
from ops.stack import configuration, credentials, prepare
from ops.stack.configuration import Configuration
from ops.stack.errors import StackError

_ROLE_PASSWORDS = ("AUTH_DB_PASSWORD", "CORE_DB_PASSWORD")


def bootstrap(found: Configuration, url: str) -> list[str]:
    """Safe to repeat; what there is to say, a line each. `url` is where a browser reaches the edge.

    Raises StackError or MigrationFailed.
    """
    if found.owner_url is None:
        raise StackError("MIGRATE_DATABASE_URL must be set (or DATABASE_URL); in the compose stacks `setup` writes it")
    secrets = found.secrets()
    applied = prepare.migrate(found.owner_url)
    done = [f"migrations: {', '.join(applied)} applied" if applied else "migrations: up to date"]
    roles = _make_roles(found, secrets)
    if found.is_production:
        return [*done, "the first admin is made by `gatehouse setup admin`, in a container of this stack"]
    admin = prepare.make_admin(roles["AUTH_DATABASE_URL"], found.admin_email, secrets["KEY_PEPPER"])
    if admin is not None:
        credentials.hold(found.place, admin)
    known, _ = credentials.publish(found.place, url)
    return [*done, *([] if known is None else _introduction(found, url))]


def _make_roles(found: Configuration, secrets: Mapping[str, str]) -> dict[str, str]:
    """Each service's URL, kept where it reads it. With DATABASE_URL alone one role does everything."""
    if not found.has_owner:
        return {"AUTH_DATABASE_URL": found.owner_url or ""}
    passwords = {name: secrets[name] for name in _ROLE_PASSWORDS}
    roles = prepare.make_roles(found.owner_url or "", found.database_url, passwords)
    for name, role_url in roles.items():
        write(found.place.var / "secrets" / name, role_url + "\n")
    return roles


def _introduction(found: Configuration, url: str) -> list[str]:
    """Where the credentials are, not the credentials: container logs are kept and shipped."""
    return [
        f"Gatehouse will answer at {url}",
        "The first admin's address, password and API key:",
        f"  docker compose exec edge cat {found.place.credentials}",
    ]


def check(found: Configuration) -> None:
    """Raises StackError naming every fault of every service's settings at once."""
    if found.owner_url and not found.database_url:
        os.environ["DATABASE_URL"] = found.owner_url  # the services' own URLs are made with their roles
    faults = {**prepare.check()["faults"], **found.faults}
    if faults:
        raise StackError("\n".join(f"{name}: {text}" if text else name for name, text in faults.items()))


def main() -> int:
    """The process's exit status."""
    try:
        found = configuration.read()
        if "--check" in sys.argv[1:]:
            check(found)
        found.place.prepare()
        for line in bootstrap(found, variable("PUBLIC_URL") or "http://localhost:8080"):
            print(line)
    except (StackError, SettingsError, MigrationFailed, OSError) as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"bootstrap: {line}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
