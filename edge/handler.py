"""The life of a request: resolve → check → forward → record."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from aiohttp import web

from common import http1
from common.errors import ApiError, Forbidden, MethodNotAllowed, Unauthorized
from edge.answer import Answered, Answers, ClientGone
from edge.cache.caching import Caching
from edge.exchange import Exchange
from edge.health import PATHS, EdgeHealth
from edge.policies.authentication import Authentication
from edge.policies.bans import Bans
from edge.policies.compression import compressed
from edge.policies.cors import Cors
from edge.policies.hosts import Hosts
from edge.policies.limiting import Limiting
from edge.policies.shedding import Shedding
from edge.record import Recorder
from edge.resolve import Resolver
from edge.router import Router
from edge.streaming import Streaming
from edge.tls.challenges import PATH as CHALLENGE_PATH
from edge.tls.termination import Termination
from edge.upstream.forward import Forwarding

log = structlog.get_logger()


class Handler:
    """Called by the server once per request."""

    def __init__(
        self,
        *,
        resolver: Resolver,
        bans: Bans,
        hosts: Hosts,
        termination: Termination,
        router: Router,
        cors: Cors,
        authentication: Authentication,
        limiting: Limiting,
        streaming: Streaming,
        forwarding: Forwarding,
        caching: Caching,
        answers: Answers,
        health: EdgeHealth,
        recorder: Recorder,
        shedding: Shedding,
    ) -> None:
        self._resolver = resolver
        self._bans = bans
        self._hosts = hosts
        self._https = termination.https
        self._challenges = termination.challenges
        self._router = router
        self._cors = cors
        self._authentication = authentication
        self._limiting = limiting
        self._streaming = streaming
        self._forwarding = forwarding
        self._caching = caching
        self._answers = answers
        self._health = health
        self._recorder = recorder
        self.shedding = shedding

    def adopt(self, hosts: Hosts, router: Router) -> None:
        """Another table from the next request on; those that have their route keep it."""
        self._hosts = hosts
        self._router = router

    async def __call__(self, request: web.BaseRequest) -> Answered:
        exchange = self._resolver.exchange(request)
        if exchange.path in PATHS:
            await self._answer(exchange, self._probe)
        else:
            self._recorder.begin()
            self.shedding.in_flight += 1
            try:
                await self._answer(exchange, self._serve)
            finally:
                self.shedding.in_flight -= 1
                # 499: the client left, by itself or by the server's cancellation, before there was an answer.
                exchange.status = exchange.status or 499
                self._recorder.record(exchange)
        return Answered(status=exchange.status, keep_alive=exchange.keep_alive)

    async def _answer(self, exchange: Exchange, serve: Callable[[Exchange], Awaitable[None]]) -> None:
        """One answer or a broken connection, whatever `serve` raises."""
        try:
            await serve(exchange)
        except ApiError as error:
            await self._refuse(exchange, error)
        except http1.UpstreamError as error:
            # The head has left: only a broken connection can tell the client that this is not the whole answer.
            log.warning("answer_cut", upstream_error=repr(error), request_id=exchange.request_id)
            error.__traceback__ = None  # the body that keeps it is in there
            self._cut(exchange)
        except ClientGone:
            exchange.keep_alive = False
        except Exception:
            log.exception("edge_failed", request_id=exchange.request_id)
            await self._refuse(exchange, ApiError())

    async def _probe(self, exchange: Exchange) -> None:
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(["GET", "HEAD"])
        status, body = await self._health.answer(exchange.path)
        await self._answers.json(exchange, status, body)

    async def unreadable(self, request: web.BaseRequest, error: ApiError) -> Answered:
        """Answers what the parser refused; the connection cannot be used any further."""
        exchange = self._resolver.exchange(request)
        exchange.keep_alive = False
        with suppress(ClientGone):
            await self._answers.error(exchange, error)
        log.info("request_unreadable", detail=error.detail, request_id=exchange.request_id)
        self._recorder.begin()
        self._recorder.record(exchange)
        return Answered(status=exchange.status, keep_alive=False)

    async def _serve(self, exchange: Exchange) -> None:
        if self._challenges is not None and exchange.path.startswith(CHALLENGE_PATH):
            await self._answers.own(exchange, 200, await self._challenges.answer(exchange.method, exchange.path))
            return
        self.shedding.require_room()
        if self._bans.anybody:
            self._bans.require_not_banned(exchange)
        self._resolver.require_well_formed(exchange)
        self._hosts.require_served(exchange.host)
        if self._https is not None and (location := self._https.location(exchange)) is not None:
            await self._answers.own(exchange, 301, b"", [(b"Location", location)])
            return
        if self._cors.is_preflight(exchange):
            await self._answers.own(exchange, 204, b"", self._cors.preflight_headers(exchange))
            return
        route = exchange.route = self._router.find(exchange.host, exchange.path, exchange.method)
        if route.access is not None:
            route.access.require(exchange.client.address)
        try:
            exchange.caller = await self._authentication.caller(exchange, route.auth)
        except Unauthorized:
            await self._limiting.count_refused(exchange)
            raise
        await self._limiting.check(exchange)
        if route.permission is not None and not (exchange.caller and exchange.caller.identity.allows(route.permission)):
            raise Forbidden(f"This needs the permission {route.permission}")
        if route.stream is not None and await self._streaming.serve(exchange):
            return
        response = await (self._forwarding if route.cache is None else self._caching).send(exchange)
        try:
            answer = await compressed(exchange, response) if route.compresses else response
            if route.counts_for_ban:
                await self._bans.count(exchange, response.status)
            await self._answers.relay(exchange, answer)
        finally:
            response.close()

    async def _refuse(self, exchange: Exchange, error: ApiError) -> None:
        if error.status == 400:
            exchange.keep_alive = False  # who cannot be understood once is not listened to again on this connection
        if error.status >= 500:
            log.warning("request_failed", error=error.error, detail=error.detail, request_id=exchange.request_id)
        if not exchange.must_answer:
            self._cut(exchange)
            return
        if exchange.route is not None and exchange.route.counts_for_ban:
            await self._bans.count(exchange, error.status)
        with suppress(ClientGone):
            await self._answers.error(exchange, error)

    def _cut(self, exchange: Exchange) -> None:
        exchange.keep_alive = False
        if exchange.request.transport is not None:
            exchange.request.transport.abort()
