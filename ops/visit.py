"""One HTTP request as somebody outside makes it: what was answered, how fast, and with which certificate."""

import http.client
import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

_BODY_BYTES_MAX = 1 << 16
_DAY_SECONDS = 86_400
_DUE_SECONDS = 14 * _DAY_SECONDS

Result = TypeVar("Result")


class Certificate(NamedTuple):
    """How long it is valid, in Unix seconds."""

    since: float
    until: float

    @property
    def days_left(self) -> int:
        """Whole days; negative once it has expired."""
        return math.floor((self.until - time.time()) / _DAY_SECONDS)

    @property
    def is_due(self) -> bool:
        """Renewal should have happened: 14 days are left, or a sixth of the life of one that lives shortly.

        Who renews by itself does so with a third left, so nothing is said while all is well.
        """
        return self.until - time.time() < min(_DUE_SECONDS, (self.until - self.since) / 6)

    @property
    def left(self) -> str:
        """`9 days`, or hours where it is not one."""
        return f"{self.days_left} days" if self.days_left else f"{(self.until - time.time()) / 3600:.0f} hours"


class Visit(NamedTuple):
    """`status` is 0 when nothing answered as HTTP does, and `problem` says why.

    headers             by lower-case name
    certificate         of the server; None without TLS
    """

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    seconds: float = 0.0
    problem: str = ""
    certificate: Certificate | None = None

    @property
    def milliseconds(self) -> int:
        return round(self.seconds * 1000)

    @property
    def fields(self) -> dict[str, Any]:
        """The body's JSON object; empty when it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def visit(
    url: str,
    *,
    timeout: float = 5,
    address: str | None = None,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Visit:
    """A GET that follows no redirect and uses no proxy; all of it within `timeout` seconds. Never raises.

    `address` is connected to in place of what the URL's host resolves to; `context` verifies in place of the system's
    certificate authorities (SSL_CERT_FILE names others).
    """
    started = time.monotonic()
    found = within(timeout, lambda: _visit(url, timeout, address, headers or {}, context))
    found = found or Visit(0, problem=f"no answer within {timeout:g} s")
    return found._replace(seconds=time.monotonic() - started)


def within(seconds: float, work: Callable[[], Result]) -> Result | None:
    """What `work` returned, or None when it took longer: it goes on alone, in a thread that nobody waits for.

    Time-outs of sockets do not cover name servers, nor a peer that sends one byte at a time.
    """
    outcome: list[Result] = []
    thread = threading.Thread(target=lambda: outcome.append(work()), daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else None


def _visit(
    url: str, timeout: float, address: str | None, headers: Mapping[str, str], context: ssl.SSLContext | None
) -> Visit:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.sock = _connect(address or host, port, timeout)
        try:
            if parts.scheme == "https":
                trusting = context or ssl.create_default_context()
                connection.sock = trusting.wrap_socket(connection.sock, server_hostname=host)
            return _ask(connection, parts._replace(scheme="", netloc="", fragment="").geturl() or "/", headers)
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        return Visit(0, problem=f"the certificate is not valid: {error.verify_message}")
    except ssl.SSLError as error:
        return Visit(0, problem=f"no TLS: {error.reason or error}")
    except TimeoutError:
        return Visit(0, problem=f"no answer within {timeout:g} s")
    except http.client.HTTPException as error:
        return Visit(0, problem=f"the answer is not HTTP ({type(error).__name__})")
    except (OSError, ValueError) as error:
        return Visit(0, problem=str(getattr(error, "strerror", None) or error))


def _connect(host: str, port: int, timeout: float) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _ask(connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str]) -> Visit:
    connection.request("GET", path, headers={"User-Agent": "gatehouse", **headers})
    certificate = None
    if isinstance(connection.sock, ssl.SSLSocket) and (found := connection.sock.getpeercert()):
        certificate = Certificate(*(float(ssl.cert_time_to_seconds(str(found[n]))) for n in ("notBefore", "notAfter")))
    response = connection.getresponse()
    named = {name.lower(): value for name, value in response.getheaders()}
    return Visit(response.status, named, response.read(_BODY_BYTES_MAX), certificate=certificate)
