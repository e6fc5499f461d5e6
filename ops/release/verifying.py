"""Asks a service, as its probes do, whether the right release serves and is ready."""

import time
from typing import Any

from ops.release.home import ReleaseError
from ops.stack import probe

READY_SECONDS = 30.0
# On a socket that several workers share each of these may reach another one.
_ANSWERS = 5
_POLL_SECONDS = 0.1
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - asked, not bound


class Verifier:
    """`plans` are the services' own, by service; `seconds` is how long each may take to become ready."""

    def __init__(self, plans: dict[str, dict[str, Any]], seconds: float = READY_SECONDS) -> None:
        self._urls = {service: _url(plan) for service, plan in plans.items()}
        self._seconds = seconds

    def version(self, service: str) -> str | None:
        """What it answers now; None when it does not."""
        status, body = probe.fetch(f"{self._urls[service]}/health")
        return str(body.get("version")) if status == 200 else None

    def verify(self, service: str, version: str) -> None:
        """Every answer is of `version`, and it is ready by itself and through the edge. Raises ReleaseError."""
        deadline = time.monotonic() + self._seconds
        while fault := self._fault(service, version):
            if time.monotonic() > deadline:
                raise ReleaseError(f"{fault} after {self._seconds:g} s")
            time.sleep(_POLL_SECONDS)

    def _fault(self, service: str, version: str) -> str:
        for _ in range(_ANSWERS):
            if (found := self.version(service)) != version:
                return f"{service} answers version {found}, not {version}," if found else f"{service} does not answer"
        return self._unready(service) or (self._unready("edge") if service != "edge" else "")

    def _unready(self, service: str) -> str:
        status, body = probe.fetch(f"{self._urls[service]}/health/ready")
        if status == 200:
            return ""
        away = ", ".join(probe.unhealthy(body))
        return f"{service} is not ready ({away or f'status {status}'})"


def _url(plan: dict[str, Any]) -> str:
    listener = next(entry for entry in plan["listen"] if entry["name"] == "http")
    host = _EVERYWHERE.get(listener["host"], listener["host"])
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{bracketed}:{listener['port']}"
