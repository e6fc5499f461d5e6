"""What a probe asks."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from common.settings import variable
from ops.stack.errors import StackError

PATH = "/health/ready"


def target(given: str | None, environ: Mapping[str, str] | None = None) -> str:
    """The URL asked: the one given, else PROBE_URL, PUBLIC_URL, or the edge itself.

    Without a path it asks for `/health/ready`. Raises StackError when it is no http(s) URL.
    """
    url = given or variable("PROBE_URL", environ) or variable("PUBLIC_URL", environ) or edge_url(environ)
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise StackError(f"{url!r} is no URL to ask: it must start with http:// or https:// and name a host")
    return url if parts.path.strip("/") else parts._replace(path=PATH).geturl()


def edge_url(environ: Mapping[str, str] | None = None) -> str:
    """The edge as this machine reaches it, whatever stands in front of it."""
    host = variable("EDGE_HOST", environ) or variable("API_HOST", environ) or "127.0.0.1"
    port = variable("EDGE_PORT", environ) or variable("PORT", environ) or variable("API_PORT", environ) or "8080"
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"
