"""The auth service's public keys, kept through its outages."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from common.errors import ServiceUnavailable, Unauthorized

log = structlog.get_logger()
_REFRESH_SECONDS = 300.0
# A token with an unknown kid may be forged: it must not be able to make us ask more often than this.
_REFETCH_SECONDS = 30.0
_RETRY_SECONDS = 1.0


class Jwks:
    """Look-up by kid. Good keys are never dropped because a fetch failed."""

    def __init__(
        self, fetch: Callable[[], Awaitable[list[dict[str, Any]]]], is_auth_there: Callable[[], bool] = lambda: True
    ) -> None:
        self._fetch = fetch
        self._is_auth_there = is_auth_there
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._tried_at = float("-inf")
        self._reached = False
        self._flight: asyncio.Task[None] | None = None

    async def follow(self) -> None:
        """Keeps the set fresh for ever; until it was read once, tries again soon."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS if self._reached else _RETRY_SECONDS)
            await self.refresh()

    async def key(self, kid: str) -> Ed25519PublicKey:
        """Raises Unauthorized for a kid the auth service does not know, ServiceUnavailable when it cannot be asked."""
        if kid not in self._keys and self._may_ask():
            await self.refresh()
        key = self._keys.get(kid)
        if key is not None:
            return key
        if self._reached and self._is_auth_there():
            raise Unauthorized("Invalid token", detail="unknown kid")
        raise ServiceUnavailable("Tokens cannot be verified at the moment", detail="key set not reachable")

    def _may_ask(self) -> bool:
        pause = _REFETCH_SECONDS if self._reached else _RETRY_SECONDS
        return self._flight is not None or time.monotonic() - self._tried_at > pause

    async def refresh(self) -> None:
        """One fetch however many wait for it; a waiter that gives up does not fail the others."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._refresh())
        await asyncio.shield(self._flight)

    async def _refresh(self) -> None:
        try:
            self._keys = _parse(await self._fetch()) or self._keys
            self._reached = True
        except ServiceUnavailable as error:
            self._reached = False
            log.warning("jwks_fetch_failed", detail=error.detail)
        finally:
            self._tried_at = time.monotonic()
            self._flight = None


def _parse(entries: list[dict[str, Any]]) -> dict[str, Ed25519PublicKey]:
    try:
        return {entry["kid"]: jwt.PyJWK(entry, algorithm="EdDSA").key for entry in entries if entry["crv"] == "Ed25519"}
    except (KeyError, TypeError, jwt.PyJWTError) as error:
        raise ServiceUnavailable(detail=f"unreadable key set: {error!r}") from error
