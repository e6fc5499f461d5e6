"""Valkey or Redis of this machine: our settings beside the distribution's, read last."""

import hashlib
import re
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.setup.machine import Machine
from ops.stack.errors import StackError

_SHIPPED = Path(__file__).parents[1] / "redis" / "gatehouse.conf"
# The distribution's main file, its unit, its user.
_SERVERS = (
    (Path("/etc/valkey/valkey.conf"), "valkey-server.service", "valkey"),
    (Path("/etc/redis/redis.conf"), "redis-server.service", "redis"),
)
_OTHERS = re.compile(r"^\s*(?:requirepass|user|aclfile)\s", re.MULTILINE)


def main_file(machine: Machine) -> tuple[Path, str, str] | None:
    """Of the server that is installed, Valkey before Redis."""
    return next((found for found in _SERVERS if machine.has(found[0])), None)


def fault(machine: Machine) -> str | None:
    """Why the local server cannot be ours."""
    found = main_file(machine)
    if found is None:
        return "no Valkey or Redis is installed: apt-get install redis-server, or give its URL with --store"
    if _OTHERS.search(machine.read(found[0]) or ""):
        return f"{found[0]} has a password or users of its own, so it is somebody's: give its URL with --store"
    if machine.is_real and not _includes_ours(machine, found[0]) and (count := keys(_port(machine))):
        return (
            f"the server of {found[0]} holds {count} keys of somebody, and ours keeps nothing on disk: give its URL "
            "with --store, or empty it"
        )
    return None


def keys(port: int) -> int:
    """How many a server of this machine holds; none where nothing answers."""
    try:
        once = Retry(NoBackoff(), 0)  # what does not answer at once does not run
        with redis.Redis(port=port, socket_timeout=5, socket_connect_timeout=5, retry=once) as client:
            return sum(found["keys"] for found in client.info("keyspace").values())
    except redis.RedisError:
        return 0


def configure(machine: Machine, password: str) -> list[str]:
    """What was done. Raises StackError."""
    found = main_file(machine)
    if found is None:
        raise StackError(str(fault(machine)))
    main, unit, user = found
    folder = main.parent
    done = []
    if machine.write(folder / "gatehouse-user.conf", user_line(password), 0o640, "root", user):
        done.append(f"{folder / 'gatehouse-user.conf'} written")
    text = _SHIPPED.read_text().replace("/etc/redis", str(folder))
    if machine.write(folder / "gatehouse.conf", text, 0o644):
        done.append(f"{folder / 'gatehouse.conf'} written")
    done += _include(machine, main, folder / "gatehouse.conf", user)
    # One that did not come up with what an earlier run wrote is tried again.
    if done or (machine.is_real and not machine.succeeds("systemctl", "is-active", "--quiet", unit)):
        machine.run("systemctl", "restart", unit)
        done.append(f"{unit} restarted")
    return done


def url(machine: Machine, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{_port(machine)}/0"


def _port(machine: Machine) -> int:
    found = main_file(machine)
    text = (machine.read(found[0]) if found else None) or ""
    ports = re.findall(r"^\s*port\s+(\d+)", text, re.MULTILINE)
    return int(ports[-1]) if ports else 6379


def user_line(password: str) -> str:
    """The server is given a hash: whoever reads its files learns no password."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    return f"user default on #{digest} ~* &* +@all -@dangerous +info +config|get\n"


def _includes_ours(machine: Machine, main: Path) -> bool:
    return f"include {main.parent / 'gatehouse.conf'}" in (machine.read(main) or "").splitlines()


def _include(machine: Machine, main: Path, ours: Path, user: str) -> list[str]:
    if _includes_ours(machine, main):
        return []
    text = machine.read(main) or ""
    machine.write(main, f"{text.rstrip()}\n\n# Last, so that it counts.\ninclude {ours}\n", 0o640, user, user)
    return [f"{main} includes it"]
