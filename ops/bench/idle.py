"""Connections that have been used once and are kept: what each takes of a proxy's memory."""

import resource
import socket
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

from ops.bench.load import BadAnswer, Request
from ops.bench.processes import Running
from ops.stack.condition import proportional_bytes

_SECONDS = 10
_SPARE_FILES = 500


def room() -> int:
    """How many connections this process may hold; the limit of open files is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft - _SPARE_FILES


def bytes_each(request: Request, proxy: Running, connections: int) -> float:
    """Growth of the proxy's memory (PSS) for each of so many connections that were answered once. Raises BadAnswer."""
    parts = urlsplit(request.url)
    lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    message = "\r\n".join([*lines, "", ""]).encode()
    with ExitStack() as stack:
        before = _bytes(proxy)
        for number in range(connections):
            address = (parts.hostname or "", parts.port or 80)
            # Spread over sources: a machine has fewer ports than connections that were closed in a minute, and the
            # edge lets one address have no more than its share.
            source = (f"127.0.1.{number % 16 + 1}", 0)
            connection = stack.enter_context(socket.create_connection(address, _SECONDS, source))
            connection.sendall(message)
            answer = connection.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise BadAnswer(f"connection {number}: {answer[:80]!r}")
        return (_bytes(proxy) - before) / connections


def _bytes(proxy: Running) -> int:
    return sum(map(proportional_bytes, proxy.pids))
