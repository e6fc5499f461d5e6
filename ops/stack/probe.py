"""Asks a stack for its health over HTTP."""

from typing import Any

from ops.visit import visit


def fetch(url: str, *, timeout: float = 3) -> tuple[int, dict[str, Any]]:
    """Status and JSON body; status 0 when nothing answers as our services do. Never raises."""
    found = visit(url, timeout=timeout)
    return (found.status, found.fields) if found.fields else (0, {})


def unhealthy(body: dict[str, Any]) -> list[str]:
    """The names that a readiness answer does not call healthy."""
    return [name for name, state in body.get("checks", {}).items() if state != "healthy"]
