"""Wiring: settings and table in, a handler out. Resources open and close in `open_edge` and nowhere else."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client.registry import Collector
from redis.asyncio import Redis

from common import logs, settings
from common.background import stop
from common.error_tracking import error_tracking
from common.http1 import Pool
from common.limits import Limiter, connect
from common.metrics import HttpMetrics, snapshot
from common.runtime import Runtime
from common.worker import Served, Tls, Worker
from edge.admin.app import Admin
from edge.admin.insight import Insight
from edge.answer import Answers
from edge.bans.admin import BanAdmin
from edge.bans.ban_list import BanList
from edge.cache.caching import Caching
from edge.cache.metrics import CacheCollector
from edge.cache.store import Store
from edge.entries import Table, UpstreamEntry
from edge.handler import Handler
from edge.health import EdgeHealth
from edge.identity.auth_client import AuthClient
from edge.identity.jwks import Jwks
from edge.identity.keys import Keys
from edge.identity.revocations import Revocations
from edge.identity.tokens import Tokens
from edge.load import LoadCollector
from edge.policies.authentication import Authentication
from edge.policies.bans import Bans, failure_rule
from edge.policies.client_address import ClientAddresses
from edge.policies.cors import Cors
from edge.policies.doors import Doors
from edge.policies.handshake import Handshakes
from edge.policies.hosts import Hosts
from edge.policies.limiting import Limiting
from edge.policies.shedding import Shedding
from edge.record import BanCollector, LimiterCollector, Recorder
from edge.resolve import Resolver
from edge.route_limits import LimitTable
from edge.router import Router
from edge.server import create_server
from edge.settings import EdgeSettings
from edge.streaming import open_streaming
from edge.table_files import TableFiles
from edge.tls.served import Served as Certificates
from edge.tls.store import require_good
from edge.tls.termination import open_termination
from edge.upstream.forward import Forwarding
from edge.upstream.metrics import UpstreamMetrics
from edge.upstream.registry import Upstreams
from edge.upstream.weights import WeightsFile, weights_file
from edge.usage import UsageLog
from edge.watch import TableWatch

# The services whose health is the edge's own, where the table names them.
_SERVICES = ("auth", "core")
_FEED_CONNECTIONS = 4
_KEY_CONNECTIONS = 64


def read_settings(environ: Mapping[str, str] | None = None) -> tuple[EdgeSettings, Table]:
    """Raises SettingsError or TableError naming every fault."""
    loaded = settings.load(EdgeSettings, environ)
    return loaded, TableFiles(loaded, environ).read()[0]


def check() -> dict[str, Any]:
    """What the supervisor needs to know before it starts workers."""
    loaded, _ = read_settings()
    listen: list[dict[str, Any]] = [
        {"name": "http", "host": loaded.edge_host, "port": loaded.edge_port, "setting": "EDGE_PORT"}
    ]
    if loaded.ends_tls:
        require_good(loaded.folders)
        listen.append(
            {"name": "https", "host": loaded.edge_host, "port": loaded.edge_tls_port, "setting": "EDGE_TLS_PORT"}
        )
    listen.append({"name": "admin", "path": str(loaded.admin_socket), "mode": "0600"})
    if loaded.edge_admin_port is not None:
        listen.append(
            {
                "name": "admin-port",
                "host": "127.0.0.1",
                "port": loaded.edge_admin_port,
                "setting": "EDGE_ADMIN_PORT",
            }
        )
    return {
        "workers": loaded.edge_workers,
        "listen": listen,
        "log": loaded.log_file("edge"),
        "lame_duck_seconds": loaded.lame_duck_seconds,
        "shutdown_seconds": loaded.shutdown_seconds,
    }


async def build(worker: Worker) -> Served:
    loaded = settings.load(EdgeSettings)
    logs.configure("edge", loaded.log_level, access=loaded.access_log_format, file=loaded.log_file("edge"))
    metrics = HttpMetrics("edge")
    worker.snapshot = lambda: snapshot(metrics.registry)
    banned = BanList()
    desk = Admin(worker)
    admin = web.AppRunner(desk.app(metrics, ban_admin(loaded, banned).routes()), access_log=None)
    edge = EdgeRunner(loaded, TableFiles(loaded), worker, metrics, banned=banned, admin=desk)
    runners: dict[str, web.BaseRunner | Tls] = {"http": edge, "admin": admin}
    if "https" in worker.listens:
        runners["https"] = Tls(edge, edge.certificates.context)
    if loaded.edge_admin_port is not None:
        runners["admin-port"] = admin
    return runners


def ban_admin(loaded: EdgeSettings, banned: BanList) -> BanAdmin:
    return BanAdmin(
        banned,
        is_trusted=ClientAddresses(loaded.proxies).is_trusted,
        seconds=loaded.ban_seconds,
        rules=(failure_rule(loaded.ban_within_seconds), loaded.limits["auth"]),
    )


class EdgeRunner(web.BaseRunner):
    """Serves the edge; its resources live exactly as long as its connections."""

    def __init__(
        self,
        loaded: EdgeSettings,
        files: TableFiles,
        runtime: Runtime,
        metrics: HttpMetrics,
        lines: logs.LineWriter = logs.STDOUT,
        *,
        banned: BanList | None = None,
        admin: Admin | None = None,
    ) -> None:
        super().__init__(shutdown_timeout=loaded.shutdown_seconds)
        self.certificates = Certificates(loaded.hosts)
        self._arguments = (loaded, files, runtime, metrics, lines)
        self._shared = (banned or BanList(), admin or Admin(runtime))
        self._resources = AsyncExitStack()

    async def shutdown(self) -> None:
        return None

    async def _make_server(self) -> web.Server:
        loaded, _, _, metrics, _ = self._arguments
        doors = Doors(
            connections_max=loaded.edge_connections_max,
            per_address_max=loaded.edge_connections_per_address_max,
            header_seconds=loaded.edge_header_seconds,
            is_trusted=ClientAddresses(loaded.proxies).is_trusted,
        )
        opening = open_edge(*self._arguments, shared=(*self._shared, self.certificates))
        handler = await self._resources.enter_async_context(opening)
        _collect(self._resources, metrics, LoadCollector(doors, handler.shedding))
        return create_server(handler, doors, keep_alive_seconds=loaded.edge_keep_alive_seconds)

    async def _cleanup_server(self) -> None:
        await self._resources.aclose()


@asynccontextmanager
async def open_edge(
    loaded: EdgeSettings,
    files: TableFiles,
    runtime: Runtime,
    metrics: HttpMetrics,
    lines: logs.LineWriter,
    *,
    shared: tuple[BanList, Admin, Certificates],
) -> AsyncIterator[Handler]:
    """The whole edge of one worker."""
    banned, admin, certificates = shared
    async with AsyncExitStack() as resources:
        await resources.enter_async_context(error_tracking(loaded, "edge"))
        watch = TableWatch(files, speaks=runtime.index == 0)
        table, limits = watch.first()
        upstreams, feeding, resolving = _open_upstreams(table, loaded, resources)

        redis = _open_redis(loaded, resources)
        limiter = await _open_limiter(redis, runtime, metrics, resources)
        usage = None if redis is None else _open_usage(redis, metrics, resources)

        feed = AuthClient(feeding, loaded.auth_service_key)
        revocations = Revocations(feed)
        jwks = Jwks(feed.jwks, lambda: not revocations.is_failing)
        keys = Keys(AuthClient(resolving, loaded.auth_service_key), revocations)
        tokens = Tokens(jwks, revocations, issuer=loaded.jwt_issuer, audience=loaded.jwt_audience)
        # Once before we are ready. When auth is not there yet, tokens are answered 503 until it is.
        await asyncio.gather(revocations.read(), jwks.refresh())
        _run(resources, revocations.follow(), jwks.follow())
        if redis is not None:
            _run(resources, revocations.listen(redis))

        addresses = ClientAddresses(loaded.proxies)
        bans = _bans(loaded, banned, limiter, addresses)
        _collect(resources, metrics, BanCollector(bans))
        await _open_bans(banned, limiter, resources)

        forwarding = Forwarding(upstreams)
        caching = Caching(forwarding, Store(loaded.edge_cache_bytes_max))
        _collect(resources, metrics, CacheCollector(caching))

        shedding = Shedding(requests_max=loaded.edge_requests_max, lag_seconds_max=loaded.edge_lag_seconds_max)
        _run(resources, shedding.watch())
        termination = await resources.enter_async_context(open_termination(loaded, certificates, redis, runtime))
        cors = Cors(loaded.allowed_origins)
        limiting = Limiting(limiter, limits.enforced(["general"]))
        upstream_metrics = _measure(upstreams, metrics, resources)
        insight = Insight(loaded, table, upstreams, watch.refused)
        router = _router(table, limits, loaded)
        termination.hosts = (*loaded.hosts, *router.hosts)
        answers = Answers(cors, runtime)
        streaming = await resources.enter_async_context(
            open_streaming(Handshakes(loaded.allowed_origins), redis, forwarding, answers, runtime.closing)
        )
        handler = Handler(
            resolver=Resolver(addresses),
            bans=bans,
            hosts=Hosts(loaded.hosts, router.hosts),
            termination=termination,
            router=router,
            cors=cors,
            authentication=Authentication(tokens, keys, limiting),
            limiting=limiting,
            streaming=streaming,
            forwarding=forwarding,
            caching=caching,
            answers=answers,
            health=EdgeHealth(lambda: _services(upstreams), limiter, runtime),
            recorder=Recorder(metrics, upstream_metrics, lines, logs.AccessLines(loaded.access_log_format), usage),
            shedding=shedding,
        )

        async def adopt(table: Table, limits: LimitTable) -> None:
            router = await asyncio.to_thread(_router, table, limits, loaded)
            insight.table = table
            upstreams.adopt(table.upstreams)
            _adopt_auth(table, loaded, feeding, resolving)
            handler.adopt(Hosts(loaded.hosts, router.hosts), router)
            termination.hosts = (*loaded.hosts, *router.hosts)

        if loaded.edge_watch_seconds:
            _run(resources, watch.follow(adopt, loaded.edge_watch_seconds))
        admin.insight = insight
        yield handler


async def _open_limiter(
    redis: Redis | None, runtime: Runtime, metrics: HttpMetrics, resources: AsyncExitStack
) -> Limiter:
    limiter = Limiter(redis, processes=runtime.count)
    resources.push_async_callback(limiter.close)
    await limiter.open()
    _collect(resources, metrics, LimiterCollector(limiter))
    return limiter


def _open_redis(loaded: EdgeSettings, resources: AsyncExitStack) -> Redis | None:
    redis = connect(loaded.redis_url) if loaded.redis_url else None
    if redis is not None:
        resources.push_async_callback(redis.aclose)
    return redis


def _open_usage(redis: Redis, metrics: HttpMetrics, resources: AsyncExitStack) -> UsageLog:
    usage = UsageLog(redis)
    _collect(resources, metrics, usage)
    resources.push_async_callback(usage.close)
    _run(resources, usage.follow())
    return usage


async def _open_bans(banned: BanList, limiter: Limiter, resources: AsyncExitStack) -> None:
    banned.attach(limiter)
    await banned.read()  # before we are ready: a new worker lets nobody in whom the old one refused
    _run(resources, banned.follow())


def _measure(upstreams: Upstreams, metrics: HttpMetrics, resources: AsyncExitStack) -> UpstreamMetrics:
    of_upstreams = UpstreamMetrics(upstreams)
    _collect(resources, metrics, of_upstreams)
    return of_upstreams


def _bans(loaded: EdgeSettings, banned: BanList, limiter: Limiter, addresses: ClientAddresses) -> Bans:
    return Bans(
        banned,
        limiter,
        is_trusted=addresses.is_trusted,
        failures=loaded.ban_failures,
        within_seconds=loaded.ban_within_seconds,
        seconds=loaded.ban_seconds,
    )


def _router(table: Table, limits: LimitTable, loaded: EdgeSettings) -> Router:
    return Router(table, limits, loaded.edge_body_bytes_max, compresses=loaded.compression)


def _services(upstreams: Upstreams) -> dict[str, list[Pool]]:
    return {name: upstreams[name].pools for name in _SERVICES if name in upstreams}


def _open_upstreams(table: Table, loaded: EdgeSettings, resources: AsyncExitStack) -> list[Upstreams]:
    """The table's, and two for what the edge itself asks auth, for the feed and for keys.

    Two, because a flood of unknown keys must not keep revocations from arriving.
    """
    weights = WeightsFile(weights_file(loaded.gatehouse_var))
    weights.look()
    own = (_auth(table, loaded, connections_max=count) for count in (_FEED_CONNECTIONS, _KEY_CONNECTIONS))
    opened = [Upstreams(entries, weights) for entries in (table.upstreams, *own)]
    for upstreams in opened:
        resources.push_async_callback(upstreams.close)
    _run(resources, weights.follow(*(upstreams.weigh for upstreams in opened)))
    return opened


def _adopt_auth(table: Table, loaded: EdgeSettings, feeding: Upstreams, resolving: Upstreams) -> None:
    feeding.adopt(_auth(table, loaded, connections_max=_FEED_CONNECTIONS))
    resolving.adopt(_auth(table, loaded, connections_max=_KEY_CONNECTIONS))


def _auth(table: Table, loaded: EdgeSettings, *, connections_max: int) -> dict[str, UpstreamEntry]:
    """The auth service on connections that requests passed on cannot use up."""
    auth = table.upstreams.get("auth") or UpstreamEntry(servers=[loaded.upstream_variables()["AUTH_URL"]])
    return {"auth": auth.model_copy(update={"connections_max": connections_max, "health": None})}


def _collect(resources: AsyncExitStack, metrics: HttpMetrics, collector: Collector) -> None:
    """Metrics that end with the resources."""
    metrics.registry.register(collector)
    resources.callback(metrics.registry.unregister, collector)


def _run(resources: AsyncExitStack, *loops: Coroutine[Any, Any, None]) -> None:
    """Background loops that end with the resources."""
    for loop in loops:
        resources.push_async_callback(stop, asyncio.create_task(loop))
