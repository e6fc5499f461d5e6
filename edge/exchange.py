"""One request and what the edge has learned of it so far."""

import time
from dataclasses import dataclass

from aiohttp import web

from common.limits import Decision
from edge.head import Client, Head
from edge.identity.caller import Caller
from edge.router import Route


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a WebSocket's opening asks for. `protocols` are those offered, without a credential among them."""

    accept: bytes  # the answer to its key
    protocols: tuple[str, ...]
    has_credential: bool  # `bearer` and a token were among the subprotocols and stay here


@dataclass(slots=True)
class Exchange:
    """Filled in step by step: resolve → check → forward → record."""

    request: web.BaseRequest
    head: Head
    method: str
    request_id: str
    client: Client
    host: str
    path: str
    query: str
    started: float
    route: Route | None = None
    caller: Caller | None = None
    decision: Decision | None = None
    handshake: Handshake | None = None
    status: int = 0
    bytes_sent: int = 0
    sent: float = 0.0  # when it was passed on to its upstream; 0 when it was not
    upstream_seconds: float = 0.0  # until the head of the upstream's answer was here; 0 when none came
    template: str = ""  # the route template the service says it used, for metrics and usage
    keep_alive: bool = True
    must_answer: bool = True  # False once bytes of an answer have left

    @property
    def origin(self) -> str | None:
        return self.request.headers.get("Origin")

    @property
    def label(self) -> str:
        """The low-cardinality name of what was asked for."""
        return self.template or (self.route.path if self.route else "unmatched")

    def seconds(self) -> float:
        return time.perf_counter() - self.started
