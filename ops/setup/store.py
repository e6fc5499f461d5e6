"""Valkey or Redis of this machine: our settings beside the distribution's, read last."""

import hashlib
import re
from pathlib import Path

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
    return None


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
    if done:
        machine.run("systemctl", "restart", unit)
        done.append(f"{unit} restarted")
    return done


def url(machine: Machine, password: str) -> str:
    found = main_file(machine)
    text = (machine.read(found[0]) if found else None) or ""
    ports = re.findall(r"^\s*port\s+(\d+)", text, re.MULTILINE)
    return f"redis://:{password}@127.0.0.1:{ports[-1] if ports else 6379}/0"


def user_line(password: str) -> str:
    """The server is given a hash: whoever reads its files learns no password."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    return f"user default on #{digest} ~* &* +@all -@dangerous +info +config|get\n"


def _include(machine: Machine, main: Path, ours: Path, user: str) -> list[str]:
    text = machine.read(main) or ""
    line = f"include {ours}"
    if line in text.splitlines():
        return []
    machine.write(main, f"{text.rstrip()}\n\n# Last, so that it counts.\n{line}\n", 0o640, user, user)
    return [f"{main} includes it"]
