"""What one worker does about TLS: it watches the certificates, answers challenges, and one of them orders."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis

from common.background import stop
from common.runtime import Runtime
from edge.policies.https import HttpsOnly
from edge.settings import EdgeSettings
from edge.tls.challenges import Challenges
from edge.tls.renewal import Renewal, follow
from edge.tls.served import Served
from edge.tls.settings import unobtainable
from edge.tls.watch import Watch

log = structlog.get_logger()


@dataclass
class Termination:
    """`https` and `challenges` are what a request meets of it; None where there is nothing to do.

    `hosts`, for which certificates are ordered, follow the route table.
    """

    https: HttpsOnly | None = None
    challenges: Challenges | None = None
    hosts: Sequence[str] = ()


@asynccontextmanager
async def open_termination(
    loaded: EdgeSettings, served: Served, redis: Redis | None, runtime: Runtime
) -> AsyncIterator[Termination]:
    """Fills `served`, and keeps it up to date meanwhile."""
    if not loaded.ends_tls:
        yield Termination()
        return
    async with AsyncExitStack() as resources:
        watch = Watch(loaded.folders, served)
        await watch.refresh()
        termination = Termination(HttpsOnly(served, loaded.https_port), hosts=loaded.hosts)
        loops = [watch.follow()]
        if loaded.acme and redis is not None:
            termination.challenges = Challenges(redis)
        if loaded.acme and redis is not None and runtime.index == 0:
            _tell_what_cannot_be_ordered(loaded, served)
            renewal = Renewal(
                redis,
                folders=loaded.folders,
                authority=loaded.authority,
                service_key=loaded.auth_service_key,
                find=served.find,
            )
            loops.append(follow(renewal, lambda: termination.hosts, watch.refresh))
        for loop in loops:
            resources.push_async_callback(stop, asyncio.create_task(loop))
        yield termination


def _tell_what_cannot_be_ordered(loaded: EdgeSettings, served: Served) -> None:
    for host in loaded.hosts:
        reason = unobtainable(host)
        if reason and not served.covers(host.replace("*", "any", 1)):
            log.warning("certificate_not_obtainable", name=host, reason=reason)
