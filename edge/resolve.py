"""Reads what a request is: its id, where it comes from, what it asks for."""

import time
from collections.abc import Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from common.errors import BadRequest, MethodNotAllowed
from common.ids import RequestIds
from edge.exchange import Exchange
from edge.policies.client_address import ClientAddresses
from edge.policies.hosts import host_name
from edge.policies.paths import normal_path

# TRACE would show a client what the edge adds to its request, an upstream's key included.
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_PASSES_MAX = 8  # through edges like this one; each adds itself to Via


class Resolver:
    def __init__(self, addresses: ClientAddresses) -> None:
        self._addresses = addresses
        self._ids = RequestIds()

    def exchange(self, request: web.BaseRequest) -> Exchange:
        """Never fails: whatever was sent, there must be something to answer and to log."""
        path, _, query = request.raw_path.partition("?")
        return Exchange(
            request=request,
            request_id=self._ids.keep_or_make(request.headers.get("X-Request-ID")),
            client=self._addresses.of(request),
            host="",
            path=path,
            query=query,
            started=time.perf_counter(),
        )

    def require_well_formed(self, exchange: Exchange) -> None:
        """Fills in host and normal path. Raises BadRequest for what could be read in two ways."""
        request = exchange.request
        if request.version not in (HttpVersion10, HttpVersion11):
            raise BadRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here")
        _require_plain_framing(request)
        if request.method in ("CONNECT", "TRACE"):
            _refuse_method(request.method)
        if hdrs.VIA in request.headers:
            _require_no_loop(request.headers.getall(hdrs.VIA))
        exchange.host = host_name(request.headers.getall("Host", []), is_http_11=request.version == HttpVersion11)
        path = exchange.path
        if not path.startswith("/"):
            path = _path_of_absolute(path, request.headers.get("Host", ""))
        if "#" in exchange.query:
            raise BadRequest("The request target has a fragment")
        exchange.path = normal_path(path)


def _require_plain_framing(request: web.BaseRequest) -> None:
    coding = request.headers.get("Transfer-Encoding")
    if coding is not None and (coding.lower() != "chunked" or request.version != HttpVersion11):
        raise BadRequest("The only transfer coding understood is chunked, in HTTP/1.1")


def _refuse_method(method: str) -> NoReturn:
    if method == "CONNECT":
        raise BadRequest("There are no tunnels here")
    raise MethodNotAllowed(_METHODS)


def _require_no_loop(lines: Sequence[str]) -> None:
    """RFC 9110 section 7.6.3: who finds itself in Via has sent the request to itself."""
    passes = sum(member.split()[1:2] == ["gatehouse"] for line in lines for member in line.split(","))
    if passes >= _PASSES_MAX:
        raise BadRequest("This request goes round in circles: see its Via header")


def _path_of_absolute(target: str, host: str) -> str:
    """RFC 9112 section 3.2.2: a server must accept the absolute form.

    What it names and Host must agree, or the upstream would be told another host than the one that was checked.
    """
    if not target.lower().startswith(("http://", "https://")):
        raise BadRequest("The request target must be a path")
    try:
        absolute = urlsplit(target)
    except ValueError:
        raise BadRequest("The request target is malformed") from None
    if absolute.netloc.lower() != host.lower():
        raise BadRequest("The request target and the Host header disagree")
    return absolute.path or "/"
