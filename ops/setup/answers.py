"""What setup must know, where each answer is judged in place."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psutil

from auth_service.accounts.addresses import InvalidAddress, normalize

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,54}")
_SMALL_MEMORY_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Answers:
    """domains      the hosts served, comma-separated; the first is that of PUBLIC_URL
    email           the first admin's address, also told to the certificate authority
    database        `local`, `embedded`, or the URL of a database that is ready
    admin_url       an administrator's URL of a server on which the database is to be made; "" where none
    database_name   what it is called there
    store           `local`, `embedded`, or a URL of Valkey or Redis
    workers         of each service
    port            of the edge
    front           what ends TLS in front of the edge
    alert_hook      a program or a URL; "" for none
    """

    domains: str = ""
    email: str = ""
    database: str = "local"
    admin_url: str = ""
    database_name: str = "gatehouse"
    store: str = "local"
    workers: int = 1
    port: int = 8080
    front: Literal["nginx", "caddy", "none"] = "none"
    alert_hook: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(part.strip().lower() for part in self.domains.split(",") if part.strip())

    @property
    def public_url(self) -> str:
        """Of the first host that is one and no wildcard."""
        plain = next((host for host in self.hosts if not host.startswith("*.")), "")
        return f"https://{plain}" if plain else ""

    def settings_over(self, known: Mapping[str, str], before: "Answers") -> dict[str, str]:
        """The lines of the settings file, where `known` ones came of the answers `before`.

        What an answer says otherwise now is set, and what is missing; what somebody tuned by hand since then stays.
        """
        once = {name: value for name, value in before.settings().items() if name != "ENV"}
        return {
            name: known[name] if name in known and value == once.get(name) else value
            for name, value in self.settings().items()
        }

    def settings(self) -> dict[str, str]:
        """The lines of a new settings file; an empty value is no line."""
        return {
            "ENV": "production",
            "DOMAINS": ",".join(self.hosts),
            "PUBLIC_URL": self.public_url,
            "ADMIN_EMAIL": self.email,
            "LETSENCRYPT_EMAIL": self.email if self.front != "none" else "",
            "EDGE_PORT": str(self.port),
            "TRUSTED_PROXIES": "127.0.0.1/32,::1/128" if self.front != "none" else "",
            "EDGE_WORKERS": str(self.workers),
            "AUTH_WORKERS": str(self.workers),
            "CORE_WORKERS": str(self.workers),
            # A local server takes 100 connections; during a reload old and new workers of both services have theirs.
            "DATABASE_POOL_MAX": "20" if self.database == "local" else "",
            "EMBEDDED": "true" if "embedded" in {self.database, self.store} else "",
            "ALERT_HOOK": self.alert_hook,
        }


COMMENTS: Mapping[str, str] = {
    "ENV": "Refuses to start with a missing or weak secret.",
    "DOMAINS": "The hosts served; others get 421.",
    "PUBLIC_URL": "How clients see the edge.",
    "ADMIN_EMAIL": "The first admin's address; of no effect once there is one.",
    "LETSENCRYPT_EMAIL": "Whom the certificate authority may warn.",
    "EDGE_PORT": "Where the edge listens; under systemd the socket unit must say the same (`gatehouse setup --port`).",
    "TRUSTED_PROXIES": "Who may say where a request came from: the front on this machine.",
    "EDGE_WORKERS": "Processes of each service; all of one together must stay below 400 MB under systemd.",
    "DATABASE_POOL_MAX": "Connections of each of auth and core, of the server's max_connections.",
    "EMBEDDED": "Production on the embedded PostgreSQL or Valkey.",
    "ALERT_HOOK": "A program or an http(s) URL that is told what went wrong.",
    "EDGE_ROUTES": "The host's own route table: what ships, and routes.d/ beside it.",
    "GATEHOUSE_VAR": "Where everything that changes is kept.",
    "LOG_TO": "Each process writes its own file below /var/lib/gatehouse/logs.",
}


def default_workers() -> int:
    """One a core, at most four; at most two where memory is short."""
    cores = os.cpu_count() or 1
    return max(1, min(2 if psutil.virtual_memory().total < _SMALL_MEMORY_BYTES else 4, cores))


def from_settings(found: Mapping[str, str], *, is_host: bool) -> dict[str, Any]:
    """The answers of an earlier run, from the settings and secrets that it left."""
    known = {
        "domains": found.get("DOMAINS"),
        "email": found.get("ADMIN_EMAIL"),
        "workers": found.get("EDGE_WORKERS"),
        "port": found.get("EDGE_PORT"),
        "alert_hook": found.get("ALERT_HOOK"),
        "store": _server_before(found.get("REDIS_URL"), is_host=is_host),
        "database": found.get("DATABASE_URL"),
        "database_name": None,
    }
    if owner := found.get("MIGRATE_DATABASE_URL"):
        before = _server_before(owner, is_host=is_host)
        known |= {"database": "local" if before == "local" else "managed", "database_name": urlsplit(owner).path[1:]}
    return {name: int(value) if value.isdigit() else value for name, value in known.items() if value}


def shown(value: str) -> str:
    """Of a URL scheme and host only: the rest may be a password, or a hook's key."""
    if "://" not in value:
        return value
    try:
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.hostname or ''}"
    except ValueError:
        return "a URL"


def _server_before(url: str | None, *, is_host: bool) -> str | None:
    return "local" if url and is_host and urlsplit(url).hostname == "127.0.0.1" else url


def judged(name: str, text: str) -> Any:
    """An answer as typed, for the field `name`. Raises ValueError with one sentence."""
    return _JUDGES[name](text.strip())


def faults(answers: Answers) -> list[str]:
    """Every answer that will not do, as `--option: sentence`."""
    found = []
    for field in fields(answers):
        try:
            judged(field.name, str(getattr(answers, field.name)))
        except ValueError as error:
            found.append(f"--{field.name.replace('_', '-')}: {error}")
    if answers.admin_url and answers.database in {"local", "embedded"}:
        found.append("--admin-url: is for a server elsewhere; leave --database out")
    return found


def _domains(text: str) -> str:
    hosts = Answers(domains=text).hosts
    if not hosts:
        raise ValueError("name at least one host, as in api.example.com,*.example.com")
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ValueError(f"{host!r} is no host name: no scheme, port or path, as in api.example.com")
    if all(host.startswith("*.") for host in hosts):
        raise ValueError("name one host that is no wildcard too: clients are told it")
    return ",".join(hosts)


def _email(text: str) -> str:
    try:
        normalize(text)
    except InvalidAddress:
        raise ValueError(f"{text!r} is no e-mail address that an account can have") from None
    return text


def _url(schemes: tuple[str, ...], words: tuple[str, ...]) -> Callable[[str], str]:
    def judge(text: str) -> str:
        if text in words:
            return text
        try:
            parts = urlsplit(text)
            is_good = parts.scheme in schemes and bool(parts.netloc or parts.path.strip("/") or parts.query)
        except ValueError:
            is_good = False
        if not is_good:  # the text may hold a password: it is not repeated
            choices = [
                *(word for word in words if word),
                *(f"a URL that starts with {scheme}://" for scheme in schemes),
            ]
            raise ValueError(f"must be {' or '.join(choices)}")
        return text

    return judge


def _number(low: int, high: int) -> Callable[[str], int]:
    def judge(text: str) -> int:
        if not (text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"must be a number from {low} to {high}")
        return int(text)

    return judge


def _front(text: str) -> str:
    if text not in {"nginx", "caddy", "none"}:
        raise ValueError("must be nginx, caddy or none")
    return text


def _hook(text: str) -> str:
    if not text or text.startswith(("http://", "https://")):
        return text
    if not (Path(text).is_file() and os.access(text, os.X_OK)):
        raise ValueError(f"{text} is neither an http(s) URL nor a program that can be run")
    if not Path(text).is_absolute():
        raise ValueError(f"{text} must be an absolute path: services run elsewhere")
    return text


def _database_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("must be lower-case letters, digits and _, 55 at most, as in gatehouse")
    return text


_JUDGES: dict[str, Callable[[str], Any]] = {
    "domains": _domains,
    "email": _email,
    "database": _url(("postgresql", "postgres"), ("local", "embedded", "managed")),
    "admin_url": _url(("postgresql", "postgres"), ("",)),
    "database_name": _database_name,
    "store": _url(("redis", "rediss", "unix"), ("local", "embedded")),
    "workers": _number(1, 256),
    "port": _number(1, 65535),
    "front": _front,
    "alert_hook": _hook,
}
