"""The machine and the settings as the checks of production see them."""

import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from common.settings import SettingsError, variable
from ops.stack import configuration
from ops.stack.configuration import Configuration
from ops.stack.place import Place
from ops.visit import within

CONNECT_SECONDS = 3.0
_PROGRAM_SECONDS = 15
# Programs of root stand where an ordinary user's PATH does not look.
_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def resolve(name: str) -> list[str]:
    """Every address that the system's resolver has for `name`; empty when it has none, or takes too long."""
    try:
        found = within(CONNECT_SECONDS, lambda: _addresses_of(name))
    except UnicodeError:
        return []
    return found or []


def _addresses_of(name: str) -> list[str]:
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in answers))


def own_addresses() -> frozenset[str]:
    """Of this machine's interfaces, without loopback and link-local ones."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = (
        entry.address for entries in psutil.net_if_addrs().values() for entry in entries if entry.family in families
    )
    return frozenset(address for address in found if _is_routable(address))


def _is_routable(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return not (parsed.is_loopback or parsed.is_link_local)


def run(*words: str) -> tuple[int, str]:
    """Exit status and output of a program; -1 where there is no such program or it takes too long."""
    program = shutil.which(words[0], path=os.pathsep.join((*os.get_exec_path(), *_FOLDERS)))
    if program is None:
        return -1, f"{words[0]} is not installed"
    try:
        done = subprocess.run(
            [program, *words[1:]], capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, str(error)
    return done.returncode, (done.stdout + done.stderr).strip()


@dataclass(frozen=True)
class Host:
    """Everything outside of this process is a field. `configuration` was read with ENV=production.

    env        what ENV really is
    own        addresses of this machine, without loopback
    resolve    name → addresses
    trust      verifies the domains' certificates; None: the system's authorities
    run        words of a program → exit status, output
    """

    configuration: Configuration
    env: str = ""
    own: frozenset[str] = field(default_factory=own_addresses)
    resolve: Callable[[str], Sequence[str]] = resolve
    http_port: int = 80
    https_port: int = 443
    trust: ssl.SSLContext | None = None
    run: Callable[..., tuple[int, str]] = run
    systemd: Path = Path("/run/systemd/system")
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)

    @classmethod
    def here(cls, environ: Mapping[str, str] | None = None) -> "Host":
        """This machine, with the settings that the services would read as production."""
        given = dict(os.environ if environ is None else environ)
        env = _looked_up(("ENV", "NODE_ENV"), given)
        return cls(configuration.read({**given, "ENV": "production"}), env=env)

    @property
    def place(self) -> Place:
        return self.configuration.place

    def variable(self, *names: str) -> str:
        """The first that is set; empty when none is, or when it cannot be read (`Settings` says so then)."""
        return _looked_up(names, self.configuration.environ)

    def port(self, default: int, *names: str) -> int:
        text = self.variable(*names)
        return int(text) if text.isdigit() else default

    @property
    def domains(self) -> list[str]:
        """The hosts served, lower-case, in the order given."""
        text = self.variable("DOMAINS")
        listed = text.strip("[] ").replace('"', "").split(",") if text else []
        numbered = [self.variable(f"DOMAIN{number}") for number in range(1, 6)]
        return list(dict.fromkeys(name.strip().lower() for name in (*listed, *numbered) if name.strip()))

    @property
    def names(self) -> list[str]:
        """A name to try for each domain: any one stands for a wildcard's."""
        return [domain.replace("*.", "gatehouse-check.") for domain in self.domains]

    @property
    def has_systemd(self) -> bool:
        return self.systemd.is_dir()

    def url(self, name: str, *, path: str = "/health", scheme: str = "https") -> str:
        port, default = (self.https_port, 443) if scheme == "https" else (self.http_port, 80)
        return f"{scheme}://{name}{'' if port == default else f':{port}'}{path}"


def _looked_up(names: Sequence[str], environ: Mapping[str, str]) -> str:
    for name in names:
        try:
            if value := variable(name, environ):
                return value
        except SettingsError:
            continue
    return ""


def is_open(address: str, port: int, seconds: float = CONNECT_SECONDS) -> bool:
    """Whether a TCP connection can be made."""
    try:
        with socket.create_connection((address, port), timeout=seconds):
            return True
    except OSError:
        return False
