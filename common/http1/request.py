"""Writing request heads: checked whole before the first byte leaves."""

import re
from collections.abc import AsyncIterable, Sequence

from common.http1.errors import InvalidRequest

# Clients invent names: what is kept of them is bounded in number and in size.
_KNOWN_NAMES_MAX = 1024
_KNOWN_NAME_BYTES_MAX = 64
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))

# Checking a name costs more than looking it up, and names repeat: those that passed are kept.
_lines: dict[bytes, bytes] = {}
_methods: dict[bytes | str, bytes] = {}


def encode_head(
    method: bytes | str, target: bytes, headers: Sequence[tuple[bytes, bytes]] | bytes, framing: bytes, host: bytes
) -> bytes:
    """The bytes of a request head.

    `headers` may come encoded, from `encode_lines`. `framing` is b"" or one header line that starts with CRLF; `host`
    is the Host to add if `headers` has none.
    Raises InvalidRequest for anything a server could read in two ways (RFC 9112 §11.1, §11.2).
    """
    start = _methods.get(method) or _learn_method(method)
    if target.split() != [target] or 0 in target:
        raise InvalidRequest("the target is empty or holds white space or NUL")
    lines = headers if isinstance(headers, bytes) else encode_lines(headers)
    hosts = lines.count(b"\r\nHost: ")
    if hosts > 1:
        raise InvalidRequest("more than one Host")
    if not hosts:
        lines = b"\r\nHost: " + host + lines
    return b"%b%b HTTP/1.1%b%b\r\n\r\n" % (start, target, lines, framing)


def encode_lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Header lines as they are sent, each preceded by CRLF; joined with others they are such lines too.

    Raises InvalidRequest for a name that is no token, or is written by the client leg, and for CR, LF or NUL.
    """
    try:
        lines = [_lines[name] + value for name, value in headers]
    except KeyError:
        lines = [_line_start(name) + value for name, value in headers]
    text = b"".join(lines)
    if 13 in text or 10 in text or 0 in text:  # as integers: found several times faster than as bytes
        raise InvalidRequest("a header holds CR, LF or NUL")
    return b"\r\n".join((b"", *lines)) if lines else b""


def _learn_method(method: bytes | str) -> bytes:
    name = method.encode("ascii", "replace") if isinstance(method, str) else method
    if not _TOKEN.fullmatch(name):
        raise InvalidRequest("the method is not a token")
    if name == b"CONNECT":
        raise InvalidRequest("CONNECT opens tunnels, which this client does not")
    if len(_methods) < _KNOWN_NAMES_MAX and len(name) <= _KNOWN_NAME_BYTES_MAX:
        _methods[method] = name + b" "
    return name + b" "


def _line_start(name: bytes) -> bytes:
    if name in _lines:
        return _lines[name]
    if not _TOKEN.fullmatch(name):
        raise InvalidRequest("a header name is not a token")
    lower = name.lower()
    if lower in _FRAMING:
        raise InvalidRequest("Content-Length and Transfer-Encoding are written by the client leg")
    start = b"%b: " % (b"Host" if lower == b"host" else name)
    if len(name) <= _KNOWN_NAME_BYTES_MAX:
        if len(_lines) >= _KNOWN_NAMES_MAX:
            _lines.clear()  # start again rather than grow
        _lines[name] = start
    return start


def encode_framing(body: bytes | AsyncIterable[bytes] | None, length: int | None) -> bytes:
    """The header line that tells where a request's body ends (RFC 9112 §6), preceded by CRLF; b"" without a body."""
    if body is None:
        if length:
            raise InvalidRequest("a length was given, but no body")
        return b""
    if isinstance(body, bytes):
        if length is not None and length != len(body):
            raise InvalidRequest(f"the body has {len(body)} bytes, not {length}")
        return b"\r\nContent-Length: %d" % len(body)
    if length is None:
        return b"\r\nTransfer-Encoding: chunked"
    if length < 0:
        raise InvalidRequest("a body's length is not negative")
    return b"\r\nContent-Length: %d" % length
