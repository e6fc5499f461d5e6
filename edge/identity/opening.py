"""Who calls, as one worker knows it: tokens and keys, and what keeps both up to date."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from common.background import stop
from edge.identity.auth_client import AuthClient
from edge.identity.jwks import Jwks
from edge.identity.keys import Keys
from edge.identity.revocations import Revocations
from edge.identity.tokens import Tokens
from edge.settings import EdgeSettings
from edge.upstream.opening import Opened


@asynccontextmanager
async def open_identity(
    loaded: EdgeSettings, upstreams: Opened, redis: Redis | None
) -> AsyncIterator[tuple[Tokens, Keys]]:
    """With what follows revocations and signing keys in the background."""
    feed = AuthClient(upstreams.feeding, loaded.auth_service_key)
    revocations = Revocations(feed)
    jwks = Jwks(feed.jwks, lambda: not revocations.is_failing)
    keys = Keys(AuthClient(upstreams.resolving, loaded.auth_service_key), revocations)
    tokens = Tokens(jwks, revocations, issuer=loaded.jwt_issuer, audience=loaded.jwt_audience)
    # Once before we are ready. When auth is not there yet, tokens are answered 503 until it is.
    await asyncio.gather(revocations.read(), jwks.refresh())
    loops = [revocations.follow(), jwks.follow()]
    if redis is not None:
        loops.append(revocations.listen(redis))
    following = [asyncio.create_task(loop) for loop in loops]
    try:
        yield tokens, keys
    finally:
        for task in reversed(following):
            await stop(task)
