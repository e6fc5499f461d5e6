"""The servers of one name: a request goes to one of them, and to another when that one fails."""

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping, Sequence

import structlog

from common.background import stop
from common.http1 import (
    ConnectFailed,
    ConnectTimeout,
    Pool,
    PoolExhausted,
    Response,
    Timeouts,
    UpstreamClosed,
    UpstreamError,
)
from common.http1.pool import DEFAULT_TIMEOUTS, IDEMPOTENT
from edge.entries import UpstreamEntry
from edge.upstream.balancer import Balancer
from edge.upstream.budget import RetryBudget
from edge.upstream.checks import Checks
from edge.upstream.server import Server, ServerState
from edge.upstream.tls import client_context

log = structlog.get_logger()
_UNREACHABLE = (ConnectFailed, ConnectTimeout)
_FAILURES = frozenset({502, 503, 504})  # it answers, but cannot do its work

Headers = Sequence[tuple[bytes, bytes]] | bytes
Body = bytes | AsyncIterable[bytes] | None


class Upstream:
    """Where a table has one server there is nothing to choose and nothing to measure: requests go to its pool.

    `service_key` is what the edge shows instead of the client's credential.
    """

    def __init__(self, name: str, entry: UpstreamEntry, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.service_key = entry.service_key.encode() if entry.service_key else None
        self.servers = tuple(_servers(entry))
        self._only = self.servers[0].pool if len(self.servers) == 1 else None
        self._table_weights = entry.weight
        self._clock = clock
        self._balancer = Balancer(name, self.servers)
        self._budget = RetryBudget()
        self._checks = Checks(self._balancer, entry.health, clock) if entry.health or self._only is None else None
        self._following: asyncio.Task[None] | None = None

    @property
    def pools(self) -> list[Pool]:
        return [server.pool for server in self.servers]

    @property
    def is_panicking(self) -> bool:
        return self._balancer.is_panicking

    def state(self) -> list[ServerState]:
        """Every server as this worker sees it, in the table's order."""
        now = self._clock()
        return [server.state(now, is_measured=self._only is None) for server in self.servers]

    def weigh(self, changes: Mapping[str, int]) -> None:
        """Sets weights by URL; the table's where `changes` name none."""
        own = self._table_weights
        weights = {server.url: changes.get(server.url, own.get(server.url, 1)) for server in self.servers}
        if weights != {server.url: server.weight for server in self.servers}:
            self._balancer.weigh(weights)
            log.info("weights_changed", upstream=self.name, weights=weights)

    def start(self, changes: Mapping[str, int]) -> None:
        """Begins to look after the servers, where there is something to look after."""
        self.weigh(changes)
        if self._checks is not None:
            self._following = asyncio.create_task(self._checks.follow())

    def stop(self) -> None:
        """Looks after them no longer; requests still pass."""
        if self._following is not None:
            self._following.cancel()

    async def close(self) -> None:
        if self._following is not None:
            await stop(self._following)
        for pool in self.pools:
            await pool.close()

    def failed(self, error: UpstreamError) -> None:
        """`request` raised `error`. Counts it where nothing else does."""
        if self._only is not None and not isinstance(error, PoolExhausted):
            self.servers[0].failures += 1

    def request(
        self,
        method: str,
        target: bytes,
        headers: Headers,
        body: Body = None,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        body_length: int | None = None,
        retries: int = 1,
    ) -> Awaitable[Response]:
        """As `Pool.request`, on a server of this upstream.

        A request that never reached its server goes on to the next one, each once. One that broke off before any byte
        of its answer is sent again, `retries` times at most, when that can do no harm (RFC 9110 §9.2.2: an idempotent
        method, and a body that is still here) and the budget allows it. Time-outs are not: waiting twice is no answer.
        """
        only = self._only
        if only is not None:
            return only.request(method, target, headers, body, timeouts=timeouts, body_length=body_length)

        def send(pool: Pool) -> Awaitable[Response]:
            return pool.request(method, target, headers, body, timeouts=timeouts, body_length=body_length)

        is_repeatable = method in IDEMPOTENT and (body is None or isinstance(body, bytes))
        return self._balanced(send, retries if is_repeatable else 0)

    async def _balanced(self, send: Callable[[Pool], Awaitable[Response]], retries: int) -> Response:
        started = self._clock()
        self._budget.count(started)
        server = self._balancer.choose(started)
        tried: list[Server] = []
        while True:
            try:
                response = await send(server.pool)
            except UpstreamError as error:
                tried.append(server)
                self._count(server, error)
                another, started = self._another(tried, error, retries), self._clock()
                if another is None:
                    raise
                server = another
                retries -= not error.never_sent
            except asyncio.CancelledError:
                server.left_waiting(self._clock() - started, self._clock())
                raise
            else:
                self._answered(server, response.status, started)
                return response

    def _another(self, tried: Sequence[Server], error: UpstreamError, retries: int) -> Server | None:
        """The next one to try after `error`; None when there is none, or when it must not be sent again."""
        now = self._clock()
        another = self._balancer.choose_another(tried, now)
        if another is None or not (error.never_sent or (retries > 0 and _broke_off(error) and self._budget.take(now))):
            return None
        another.retries += 1
        return another

    def _count(self, server: Server, error: UpstreamError) -> None:
        if not isinstance(error, PoolExhausted):  # a full pool says what we allow, not what the server can
            self._balancer.failed(server, self._clock(), is_unreachable=isinstance(error, _UNREACHABLE))

    def _answered(self, server: Server, status: int, started: float) -> None:
        now = self._clock()
        if status in _FAILURES:
            self._balancer.failed(server, now, is_unreachable=False)
        else:
            server.answered(now - started, now)


def _servers(entry: UpstreamEntry) -> Iterator[Server]:
    context = client_context(entry.servers, entry.tls)
    for url in entry.servers:
        yield Server(
            url,
            weight=entry.weight.get(url, 1),
            connections_max=entry.connections_max,
            tls=context,
            server_name=entry.tls.server_name if entry.tls else None,
        )


def _broke_off(error: UpstreamError) -> bool:
    """Before any byte of the answer."""
    return isinstance(error, UpstreamClosed) and not error.answer_begun
