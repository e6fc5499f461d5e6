"""One request and what the edge has learned of it so far."""

import time
from dataclasses import dataclass

from aiohttp import web

from common.limits import Decision
from edge.identity.caller import Caller
from edge.router import Route


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from, as far as it can be believed. `forwarded_for` is what upstreams are told."""

    address: str
    scheme: str
    forwarded_for: str


@dataclass(slots=True)
class Exchange:
    """Filled in step by step: resolve → check → forward → record."""

    request: web.BaseRequest
    request_id: str
    client: Client
    host: str
    path: str
    query: str
    started: float
    route: Route | None = None
    caller: Caller | None = None
    decision: Decision | None = None
    status: int = 0
    bytes_sent: int = 0
    template: str = ""  # the route template the service says it used, for metrics and usage
    keep_alive: bool = True
    must_answer: bool = True  # False once bytes of an answer have left

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def origin(self) -> str | None:
        return self.request.headers.get("Origin")

    @property
    def label(self) -> str:
        """The low-cardinality name of what was asked for."""
        return self.template or (self.route.path if self.route else "unmatched")

    def seconds(self) -> float:
        return time.perf_counter() - self.started
