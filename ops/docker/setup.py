"""`python -m ops.docker.setup`: the compose stack's first one-shot. Secrets, and what the two servers are told of them.

Nothing secret is in docker-compose.yml or in a container's environment. The services read `$GATEHOUSE_VAR/secrets`;
PostgreSQL and Valkey get a volume of their own, because they have no business with the services' secrets.
"""

import sys
from pathlib import Path
from urllib.parse import quote

from common.settings import SettingsError
from ops.docker.files import write
from ops.embedded.valkey import SETTINGS
from ops.stack import configuration
from ops.stack.configuration import Configuration
from ops.stack.errors import StackError

SERVERS = Path("/var/lib/gatehouse-servers")
# Compose's service names are host names; a service's own database URL is written when its role is made (bootstrap.py).
_OWNER_URL = "postgresql://postgres:{}@postgres:5432/gatehouse"
_VALKEY_URL = "redis://:{}@valkey:6379/0"


def setup(found: Configuration, servers: Path = SERVERS) -> None:
    """Makes what is missing; safe to repeat. Raises StackError."""
    found.place.prepare()
    secrets = found.secrets()
    kept = found.place.var / "secrets"
    kept.mkdir(mode=0o700, exist_ok=True)
    postgres, valkey = secrets["POSTGRES_PASSWORD"], secrets["REDIS_PASSWORD"]
    write(kept / "MIGRATE_DATABASE_URL", _OWNER_URL.format(quote(postgres, safe="")) + "\n")
    write(kept / "REDIS_URL", _VALKEY_URL.format(quote(valkey, safe="")) + "\n")
    write(servers / "postgres-password", postgres + "\n")
    # Valkey reads them as a user of its own, and nobody else is in its container.
    write(servers / "valkey.conf", valkey_configuration(valkey), mode=0o644)
    write(servers / "valkey-ping", f"AUTH {_quoted(valkey)}\nPING\n", mode=0o644)


def valkey_configuration(password: str) -> str:
    """The embedded server's settings, open to the other containers."""
    settings = SETTINGS | {"bind": "* -::*", "requirepass": _quoted(password)}
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _quoted(word: str) -> str:
    """As Valkey's configuration and command line read it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    return f'"{escaped}"'


def main() -> int:
    """The process's exit status."""
    try:
        setup(configuration.read())
    except (StackError, SettingsError, OSError) as error:
        sys.stderr.write(f"setup: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
