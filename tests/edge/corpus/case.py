"""One case of the corpus, and short ways to write the bytes of one."""

from dataclasses import dataclass, field

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes a client sends, and what must come of them.

    raw       everything the client sends; it never closes its end first
    answers   the statuses it gets, in order; after the last one the connection is closed
    why       the rule, as a section of RFC 9110, 9112 or 3986 where there is one
    seen      what the upstream got: method, target and body of each request, a space between them
    """

    name: str
    raw: bytes
    answers: str
    why: str
    seen: tuple[bytes, ...] = field(default=())


def head(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: x\r\n") -> bytes:
    """A head that asks to be the last on its connection."""
    return start + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"Connection: close\r\n\r\n"


def kept(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    """A head that leaves the connection open: only the edge can end it."""
    return start + b"\r\nHost: x\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return head(*lines, start=b"POST / HTTP/1.1") + body


def posted(*lines: bytes, body: bytes = b"") -> bytes:
    """The same on a connection that stays open, where whatever is behind the body is read as the next request."""
    return kept(*lines, start=b"POST / HTTP/1.1") + body


def chunked(body: bytes) -> bytes:
    """A chunked POST, the last on its connection."""
    return post(b"Transfer-Encoding: chunked", body=body)
