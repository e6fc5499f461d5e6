"""What a client's header section says. Read once, and kept while its connection repeats it, as most clients do."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from common.errors import BadRequest
from common.http1 import encode_lines
from common.ids import REQUEST_ID
from edge.identity.caller import Header
from edge.policies.hosts import host_name
from edge.upstream.headers import passing_up, via

_NOTHING: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
_PASSES_MAX = 8  # through edges like this one; each adds itself to Via


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from, as far as it can be believed. `forwarded_for` is what upstreams are told."""

    address: str
    scheme: str
    forwarded_for: str


class Head:
    """`request_id` is the offered one where it is well formed; `host_name` is known once `check` has passed."""

    __slots__ = ("_headers", "_upstream_lines", "authorization", "client", "host_name", "raw", "request_id", "version")

    def __init__(self, request: web.BaseRequest, client: Client) -> None:
        # What could not be parsed has a plain dict for headers, and nothing in it.
        headers = self._headers = request.headers or _NOTHING
        offered = headers.get("X-Request-ID")
        self.raw = request.raw_headers
        self.version = request.version
        self.client = client
        self.request_id = offered if offered is not None and REQUEST_ID.fullmatch(offered) else None
        self.authorization = headers.getall(hdrs.AUTHORIZATION, ())
        self.host_name: str | None = None
        self._upstream_lines = b""

    @property
    def host(self) -> str:
        """As it was written; empty for none."""
        return self._headers.get(hdrs.HOST, "")

    def check(self) -> str:
        """The host's name. Raises BadRequest for what could be read in two ways."""
        is_http_11 = self.version == HttpVersion11
        if not is_http_11 and self.version != HttpVersion10:
            raise BadRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here")
        coding = self._headers.get(hdrs.TRANSFER_ENCODING)
        if coding is not None and (coding.lower() != "chunked" or not is_http_11):
            raise BadRequest("The only transfer coding understood is chunked, in HTTP/1.1")
        if hdrs.VIA in self._headers:
            _require_no_loop(self._headers.getall(hdrs.VIA))
        self.host_name = host_name(self._headers.getall(hdrs.HOST, ()), is_http_11=is_http_11)
        return self.host_name

    def forwarded(self) -> list[Header]:
        """What upstreams are told of the client, of the host it asked and of us."""
        host = self.host.encode("ascii")
        return [
            (b"Host", host),
            (b"X-Forwarded-For", self.client.forwarded_for.encode()),
            (b"X-Forwarded-Proto", self.client.scheme.encode()),
            (b"X-Forwarded-Host", host),
            (b"X-Real-IP", self.client.address.encode()),
            via(self.version),
        ]

    def upstream_lines(self) -> bytes:
        """All that upstreams are told of this head, without any Authorization: encoded.

        Raises InvalidRequest for what cannot be passed on.
        """
        if not self._upstream_lines:
            self._upstream_lines = encode_lines([*passing_up(self.raw), *self.forwarded()])
        return self._upstream_lines


def _require_no_loop(lines: Sequence[str]) -> None:
    """RFC 9110 section 7.6.3: who finds itself in Via has sent the request to itself."""
    passes = sum(member.split()[1:2] == ["gatehouse"] for line in lines for member in line.split(","))
    if passes >= _PASSES_MAX:
        raise BadRequest("This request goes round in circles: see its Via header")
