"""Asks a stack for its health over HTTP."""

import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit


def fetch(url: str, *, timeout: float = 3) -> tuple[int, dict[str, Any]]:
    """Status and JSON body; status 0 when nothing answers as HTTP does. Blocks, redirects and proxies are ignored."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)) as connection:
        try:
            connection.request("GET", parts.path)
            response = connection.getresponse()
            body = json.loads(response.read(1 << 16))
        except (OSError, http.client.HTTPException, ValueError):
            return 0, {}
    return response.status, body if isinstance(body, dict) else {}


def unhealthy(body: dict[str, Any]) -> list[str]:
    """The names that a readiness answer does not call healthy."""
    return [name for name, state in body.get("checks", {}).items() if state != "healthy"]
