"""The image's health check: exit status 0 when HEALTHCHECK_URL answers 200 in time, else 1 and the reason.

Without HEALTHCHECK_URL it asks the edge whether it lives, on the port that the platform gave it.

`docker inspect` shows what it prints. Standard library only: it runs every few seconds and must start fast.
"""

import http.client
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

# Docker ends the whole probe after 10 s; a silent server should be named before that.
_SECONDS = 8.0


def probe(url: str, seconds: float = _SECONDS) -> str | None:
    """Why `url` does not count as healthy, or None. Proxies and redirects are not followed."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)) as connection:
        try:
            connection.request("GET", parts.path or "/")
            response = connection.getresponse()
            body = response.read(4096)
        except (OSError, http.client.HTTPException) as error:
            return f"{url} does not answer: {type(error).__name__}: {error}"
    return None if response.status == 200 else f"{url} answered {response.status}: {body.decode(errors='replace')}"


def wanted(environ: Mapping[str, str]) -> str:
    """The URL to ask."""
    port = environ.get("EDGE_PORT") or environ.get("PORT") or environ.get("API_PORT") or "8080"
    return environ.get("HEALTHCHECK_URL") or f"http://127.0.0.1:{port}/health"


if __name__ == "__main__":
    reason = probe(wanted(os.environ))
    print(reason or "healthy")
    sys.exit(1 if reason else 0)
