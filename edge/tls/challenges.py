"""HTTP-01: what the authority asks for at /.well-known/acme-challenge/TOKEN, answered by whichever edge it reaches."""

import asyncio
import re
from typing import cast

from redis import RedisError
from redis.asyncio import Redis

from common.errors import MethodNotAllowed, NotFound, ServiceUnavailable
from edge.tls.lock import PREFIX

PATH = "/.well-known/acme-challenge/"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")  # RFC 8555 section 8.3: base64url, at least 128 bits
_SECONDS = 600
_AT_ONCE_MAX = 8  # nobody's limit counts these requests, so a flood of them queues here and not in Valkey


class Challenges:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._turn = asyncio.Semaphore(_AT_ONCE_MAX)

    async def put(self, token: str, answer: str) -> None:
        """Raises RedisError."""
        await self._redis.set(f"{PREFIX}challenge:{token}", answer, ex=_SECONDS)

    async def answer(self, method: str, path: str) -> bytes:
        """The body for a path below PATH. Raises NotFound for a token that nobody asked the authority for."""
        if method not in ("GET", "HEAD"):
            raise MethodNotAllowed(["GET", "HEAD"])
        token = path.removeprefix(PATH)
        if not _TOKEN.fullmatch(token):
            raise NotFound
        try:
            async with self._turn:
                answer = cast("bytes | None", await self._redis.get(f"{PREFIX}challenge:{token}"))
        except (RedisError, OSError) as error:
            raise ServiceUnavailable("The challenge cannot be looked up now", detail=repr(error)) from error
        if answer is None:
            raise NotFound
        return answer
