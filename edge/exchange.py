"""One request and what the edge has learned of it so far."""

import time
from dataclasses import dataclass

from aiohttp import web

from common.limits import Decision
from edge.head import Head
from edge.identity.caller import Caller
from edge.router import Route


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a WebSocket's opening asks for. `protocols` are those offered, without a credential among them."""

    accept: bytes  # the answer to its key
    protocols: tuple[str, ...]
    has_credential: bool  # `bearer` and a token were among the subprotocols and stay here


class Exchange:
    """Filled in step by step: resolve → check → forward → record.

    What is learned later starts as an attribute of the class, so that a request sets only what it comes to.
    """

    host = ""
    route: Route | None = None
    caller: Caller | None = None
    decision: Decision | None = None
    handshake: Handshake | None = None
    status = 0
    bytes_sent = 0
    sent = 0.0  # when it was passed on to its upstream; 0 when it was not
    upstream_seconds = 0.0  # until the head of the upstream's answer was here; 0 when none came
    template = ""  # the route template the service says it used, for metrics and usage
    must_answer = True  # False once bytes of an answer have left

    def __init__(self, request: web.BaseRequest, head: Head, request_id: str) -> None:
        self.request = request
        self.head = head
        self.client = head.client
        self.method = request.method
        self.path, _, self.query = request.raw_path.partition("?")
        self.keep_alive = request.keep_alive
        self.request_id = request_id
        self.started = time.perf_counter()

    @property
    def origin(self) -> str | None:
        return self.request.headers.get("Origin")

    @property
    def label(self) -> str:
        """The low-cardinality name of what was asked for."""
        return self.template or (self.route.path if self.route else "unmatched")

    def seconds(self) -> float:
        return time.perf_counter() - self.started
