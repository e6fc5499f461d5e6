"""The whole edge of one worker: its parts, opened and closed in `open_edge` and nowhere else."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from prometheus_client.registry import Collector
from redis.asyncio import Redis

from common import logs
from common.background import stop
from common.error_tracking import error_tracking
from common.limits import Limiter, connect
from common.metrics import HttpMetrics
from common.runtime import Runtime
from edge.admin.app import Admin
from edge.admin.insight import Insight
from edge.answer import Answers
from edge.bans.ban_list import BanList
from edge.cache.caching import Caching
from edge.cache.metrics import CacheCollector
from edge.cache.store import Store
from edge.entries import Table
from edge.handler import Handler
from edge.health import EdgeHealth
from edge.identity.opening import open_identity
from edge.policies.authentication import Authentication
from edge.policies.bans import Bans
from edge.policies.client_address import ClientAddresses
from edge.policies.cors import Cors
from edge.policies.handshake import Handshakes
from edge.policies.hosts import Hosts
from edge.policies.limiting import Limiting
from edge.policies.shedding import Shedding
from edge.record import BanCollector, LimiterCollector, Recorder
from edge.resolve import Resolver
from edge.route_limits import LimitTable
from edge.router import Router
from edge.settings import EdgeSettings
from edge.streaming import open_streaming
from edge.table_files import TableFiles
from edge.tls.served import Served as Certificates
from edge.tls.termination import Termination, open_termination
from edge.upstream.forward import Forwarding
from edge.upstream.metrics import UpstreamMetrics
from edge.upstream.opening import Opened, open_upstreams
from edge.upstream.registry import Upstreams
from edge.usage import UsageLog
from edge.watch import Adopt, TableWatch


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
    """Ready when it is entered; what ends last was opened first."""
    banned, admin, certificates = shared
    async with AsyncExitStack() as resources:
        await resources.enter_async_context(error_tracking(loaded, "edge"))
        watch = TableWatch(files, speaks=runtime.index == 0)
        table, limits = watch.first()
        upstreams = await resources.enter_async_context(open_upstreams(table, loaded))
        redis = _open_redis(loaded, resources)
        limiter = await _open_limiter(redis, runtime, metrics, resources)
        usage = None if redis is None else _open_usage(redis, metrics, resources)
        tokens, keys = await resources.enter_async_context(open_identity(loaded, upstreams, redis))
        addresses = ClientAddresses(loaded.proxies)
        bans = _bans(loaded, banned, limiter, addresses)
        collect(resources, metrics, BanCollector(bans))
        await _share_bans(banned, limiter, resources)
        forwarding = Forwarding(upstreams.of_table)
        caching = _open_cache(forwarding, loaded, metrics, resources)
        shedding = _open_shedding(loaded, resources)
        termination = await resources.enter_async_context(open_termination(loaded, certificates, redis, runtime))
        router = _router(table, limits, loaded)
        termination.hosts = (*loaded.hosts, *router.hosts)
        cors = Cors(loaded.allowed_origins)
        limiting = Limiting(limiter, limits.enforced(["general"]))
        answers = Answers(cors, runtime)
        streaming = await resources.enter_async_context(
            open_streaming(Handshakes(loaded.allowed_origins), redis, forwarding, answers, runtime.closing)
        )
        of_upstreams = _measure(upstreams.of_table, metrics, resources)
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
            health=EdgeHealth(upstreams.services, limiter, runtime),
            recorder=Recorder(metrics, of_upstreams, lines, logs.AccessLines(loaded.access_log_format), usage),
            shedding=shedding,
        )
        insight = Insight(loaded, table, upstreams.of_table, watch.refused)
        if loaded.edge_watch_seconds:
            adopt = _adoption(loaded, insight, upstreams, handler, termination)
            _run(resources, watch.follow(adopt, loaded.edge_watch_seconds))
        admin.insight = insight
        yield handler


def _adoption(
    loaded: EdgeSettings, insight: Insight, upstreams: Opened, handler: Handler, termination: Termination
) -> Adopt:
    """What a changed table changes, upstreams before the routes that lead to them."""

    async def adopt(table: Table, limits: LimitTable) -> None:
        router = await asyncio.to_thread(_router, table, limits, loaded)
        insight.table = table
        upstreams.adopt(table)
        handler.adopt(Hosts(loaded.hosts, router.hosts), router)
        termination.hosts = (*loaded.hosts, *router.hosts)

    return adopt


def _router(table: Table, limits: LimitTable, loaded: EdgeSettings) -> Router:
    return Router(table, limits, loaded.edge_body_bytes_max, compresses=loaded.compression)


def _open_redis(loaded: EdgeSettings, resources: AsyncExitStack) -> Redis | None:
    redis = connect(loaded.redis_url) if loaded.redis_url else None
    if redis is not None:
        resources.push_async_callback(redis.aclose)
    return redis


async def _open_limiter(
    redis: Redis | None, runtime: Runtime, metrics: HttpMetrics, resources: AsyncExitStack
) -> Limiter:
    limiter = Limiter(redis, processes=runtime.count)
    resources.push_async_callback(limiter.close)
    await limiter.open()
    collect(resources, metrics, LimiterCollector(limiter))
    return limiter


def _open_usage(redis: Redis, metrics: HttpMetrics, resources: AsyncExitStack) -> UsageLog:
    usage = UsageLog(redis)
    collect(resources, metrics, usage)
    resources.push_async_callback(usage.close)
    _run(resources, usage.follow())
    return usage


def _bans(loaded: EdgeSettings, banned: BanList, limiter: Limiter, addresses: ClientAddresses) -> Bans:
    return Bans(
        banned,
        limiter,
        is_trusted=addresses.is_trusted,
        failures=loaded.ban_failures,
        within_seconds=loaded.ban_within_seconds,
        seconds=loaded.ban_seconds,
    )


async def _share_bans(banned: BanList, limiter: Limiter, resources: AsyncExitStack) -> None:
    banned.attach(limiter)
    await banned.read()  # before we are ready: a new worker lets nobody in whom the old one refused
    _run(resources, banned.follow())


def _open_cache(
    forwarding: Forwarding, loaded: EdgeSettings, metrics: HttpMetrics, resources: AsyncExitStack
) -> Caching:
    caching = Caching(forwarding, Store(loaded.edge_cache_bytes_max))
    collect(resources, metrics, CacheCollector(caching))
    return caching


def _open_shedding(loaded: EdgeSettings, resources: AsyncExitStack) -> Shedding:
    shedding = Shedding(requests_max=loaded.edge_requests_max, lag_seconds_max=loaded.edge_lag_seconds_max)
    _run(resources, shedding.watch())
    return shedding


def _measure(upstreams: Upstreams, metrics: HttpMetrics, resources: AsyncExitStack) -> UpstreamMetrics:
    of_upstreams = UpstreamMetrics(upstreams)
    collect(resources, metrics, of_upstreams)
    return of_upstreams


def collect(resources: AsyncExitStack, metrics: HttpMetrics, collector: Collector) -> None:
    """Metrics that end with the resources."""
    metrics.registry.register(collector)
    resources.callback(metrics.registry.unregister, collector)


def _run(resources: AsyncExitStack, loop: Coroutine[Any, Any, None]) -> None:
    """A background loop that ends with the resources."""
    resources.push_async_callback(stop, asyncio.create_task(loop))
