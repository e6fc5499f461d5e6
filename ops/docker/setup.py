"""`python -m ops.docker.setup`: the compose stack's first one-shot. Secrets, and what the two servers are told of them.

Nothing secret is in docker-compose.yml or in a container's environment. The services read `$GATEHOUSE_VAR/secrets`;
PostgreSQL and Valkey get a volume of their own, because the services' secrets are no business of theirs. With `--front`
(docker-compose.prod.yml) it also writes the configuration of what stands in front.
"""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from common.settings import SettingsError, variable
from ops import front
from ops.docker.files import write
from ops.embedded.valkey import SETTINGS
from ops.front import Front, render
from ops.stack import configuration
from ops.stack.configuration import Configuration
from ops.stack.errors import StackError

SERVERS = Path("/var/lib/gatehouse-servers")
FRONT = Path("/var/lib/gatehouse-front")
CERTIFICATES = "/etc/gatehouse-certificates"
# Compose's service names are host names; a service's own database URL is written when its role is made (bootstrap.py).
_OWNER_URL = "postgresql://postgres:{}@postgres:5432/gatehouse"
_VALKEY_URL = "redis://:{}@valkey:6379/0"


def setup(found: Configuration, servers: Path = SERVERS) -> None:
    """Makes what is missing; safe to repeat. Raises StackError."""
    found.place.prepare()
    secrets = found.secrets(makes=True)
    kept = found.place.var / "secrets"
    kept.mkdir(mode=0o700, exist_ok=True)
    postgres, valkey = secrets["POSTGRES_PASSWORD"], secrets["REDIS_PASSWORD"]
    _keep_database_urls(kept, found.environ, _OWNER_URL.format(quote(postgres, safe="")))
    write(kept / "REDIS_URL", _VALKEY_URL.format(quote(valkey, safe="")) + "\n")
    write(servers / "postgres-password", postgres + "\n")
    # Valkey reads them as a user of its own, and nobody else is in its container.
    write(servers / "valkey.conf", valkey_configuration(valkey), mode=0o644)
    write(servers / "valkey-ping", f"AUTH {_quoted(valkey)}\nPING\n", mode=0o644)


def _keep_database_urls(kept: Path, environ: Mapping[str, str], own: str) -> None:
    """The stack's own PostgreSQL, unless another one is named; then nothing may be left that leads to the own one."""
    if any(environ.get(name) or environ.get(f"{name}_FILE") for name in ("DATABASE_URL", "MIGRATE_DATABASE_URL")):
        for name in ("MIGRATE_DATABASE_URL", "AUTH_DATABASE_URL", "CORE_DATABASE_URL"):
            (kept / name).unlink(missing_ok=True)
    else:
        write(kept / "MIGRATE_DATABASE_URL", own + "\n")


def write_front(environ: Mapping[str, str] | None = None, folder: Path = FRONT) -> None:
    """What nginx or Caddy reads, whichever is started. Raises SettingsError."""
    kinds = set((variable("COMPOSE_PROFILES", environ) or "").replace(" ", "").split(","))
    if not kinds & {"nginx", "caddy"}:
        raise SettingsError("COMPOSE_PROFILES: must name what ends TLS: caddy, or nginx with certificates of yours")
    served = Front(
        domains=front.served(environ).hosts,
        upstream="edge:8080",
        certificates=CERTIFICATES,
        email=variable("LETSENCRYPT_EMAIL", environ) or "",
        authority=variable("ACME_DIRECTORY", environ) or "",
        webroot="/tmp/webroot",  # noqa: S108 - in nginx's container, where nobody else is; its certificates come from outside
        storage=str(folder / "caddy"),
        ipv6=False,
    )
    site = folder / "site.conf"
    write(site, render("nginx", served))
    words = {"scratch": "/tmp", "site": site, "access_log": "/dev/stdout"}  # noqa: S108 - the same
    write(folder / "nginx.conf", render("nginx/nginx.conf.j2", served, **words))
    write(folder / "Caddyfile", render("caddy", dataclasses.replace(served, certificates="")))


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
        if "--front" in sys.argv[1:]:
            write_front()
    except (StackError, SettingsError, OSError) as error:
        sys.stderr.write(f"setup: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
