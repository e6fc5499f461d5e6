"""The opening handshake of a WebSocket (RFC 6455 section 4): judged here, before an upstream hears of it."""

import base64
import hashlib
import re
from collections.abc import Sequence

from aiohttp import HttpVersion11, web

from common.errors import BadGateway, BadRequest, Forbidden, UpgradeRequired
from common.http1 import Response
from edge.exchange import Exchange, Handshake

_KEY = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BEARER = "bearer"


class Handshakes:
    """`origins` are the pages of other sites that may open a WebSocket; those of the host itself always may."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origin.rstrip("/") for origin in origins)

    def read(self, exchange: Exchange) -> Handshake | None:
        """None when no WebSocket is asked for. Raises BadRequest, UpgradeRequired or, for the Origin, Forbidden."""
        request, route = exchange.request, exchange.route
        if not is_asked(request):
            return None
        _require_well_formed(request)
        self._require_known_origin(request)
        assert route is not None
        protocols = _offered(request)
        # Elsewhere whatever is offered is the upstream's to judge.
        has_credential = _BEARER in protocols and route.auth != "none" and not route.pass_authorization
        if has_credential:
            place = protocols.index(_BEARER)
            del protocols[place : place + 2]
        return Handshake(_accept(request.headers["Sec-WebSocket-Key"]), tuple(protocols), has_credential)

    def _require_known_origin(self, request: web.BaseRequest) -> None:
        # Browsers send Origin, and cookies with it, whatever page opens the WebSocket, and CORS does not stop them.
        origin = request.headers.get("Origin")
        if origin is None or origin in self._origins:
            return
        if origin.partition("://")[2].lower() != request.headers.get("Host", "").lower():
            raise Forbidden("Pages of this origin may not open a WebSocket here")


def is_asked(request: web.BaseRequest) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def bearer_subprotocol(request: web.BaseRequest) -> list[str]:
    """`Authorization` as a browser's WebSocket can send it: the subprotocol behind `bearer` is the token."""
    offered = _offered(request) if is_asked(request) else []
    return [f"Bearer {offered[offered.index(_BEARER) + 1]}"] if _BEARER in offered[:-1] else []


def require_accepted(handshake: Handshake, response: Response) -> None:
    """Raises BadGateway unless a 101 is the answer to this very handshake (RFC 6455 section 4.1)."""
    given: dict[bytes, list[bytes]] = {}
    for name, value in response.headers:
        given.setdefault(name.lower(), []).append(value)
    if [value.lower() for value in given.get(b"upgrade", [])] != [b"websocket"]:
        raise BadGateway(detail="the upstream changed to another protocol than WebSocket")
    if given.get(b"sec-websocket-accept") != [handshake.accept]:
        raise BadGateway(detail="the upstream's Sec-WebSocket-Accept does not fit the key")
    chosen = [value.decode("latin-1") for value in given.get(b"sec-websocket-protocol", [])]
    if chosen and (len(chosen) > 1 or chosen[0] not in handshake.protocols):
        raise BadGateway(detail="the upstream chose a subprotocol that was not offered")


def _accept(key: str) -> bytes:
    return base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest())


def _require_well_formed(request: web.BaseRequest) -> None:
    headers = request.headers
    if request.method != "GET" or request.version != HttpVersion11 or request.body_exists:
        raise BadRequest("A WebSocket is opened with GET in HTTP/1.1, without a body")
    if not _names_upgrade(headers.getall("Connection", ())):
        raise BadRequest("A WebSocket handshake needs `Connection: Upgrade`; a proxy in front may have dropped it")
    if headers.getall("Sec-WebSocket-Version", ()) != ["13"]:
        raise UpgradeRequired
    keys = headers.getall("Sec-WebSocket-Key", ())
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in base64")


def _names_upgrade(lines: Sequence[str]) -> bool:
    return any(option.strip().lower() == "upgrade" for line in lines for option in line.split(","))


def _offered(request: web.BaseRequest) -> list[str]:
    lines = request.headers.getall("Sec-WebSocket-Protocol", ())
    return [name.strip() for line in lines for name in line.split(",")]
