"""`python -m ops.docker.bootstrap`: the second one-shot of the compose stack. Migrations, roles, the first admin."""

import sys

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
        raise StackError("MIGRATE_DATABASE_URL must be set: ops.docker.setup writes it")
    secrets = found.secrets()
    applied = prepare.migrate(found.owner_url)
    roles = prepare.make_roles(found.owner_url, None, {name: secrets[name] for name in _ROLE_PASSWORDS})
    for name, role_url in roles.items():
        write(found.place.var / "secrets" / name, role_url + "\n")
    admin = prepare.make_admin(roles["AUTH_DATABASE_URL"], found.admin_email, secrets["KEY_PEPPER"])
    if admin is not None:
        credentials.hold(found.place, admin)
    known, _ = credentials.publish(found.place, url)
    return [
        f"migrations: {', '.join(applied)} applied" if applied else "migrations: up to date",
        *([] if known is None else _introduction(found, url)),
    ]


def _introduction(found: Configuration, url: str) -> list[str]:
    """Where the credentials are, not the credentials: container logs are kept and shipped."""
    return [
        f"Gatehouse will answer at {url}",
        "The first admin's address, password and API key:",
        f"  docker compose exec edge cat {found.place.credentials}",
    ]


def main() -> int:
    """The process's exit status."""
    try:
        for line in bootstrap(configuration.read(), variable("PUBLIC_URL") or "http://localhost:8080"):
            print(line)
    except (StackError, SettingsError, MigrationFailed, OSError) as error:
        sys.stderr.write(f"bootstrap: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
