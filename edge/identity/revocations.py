"""What the auth service has revoked, at most a second old.

Pub/sub only wakes; the feed is read every second in any case, and once before any token is believed.
"""

import asyncio
import time
from collections.abc import Callable, Set
from typing import Protocol
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.errors import ApiError, ServiceUnavailable, TokenExpired, Unauthorized
from edge.identity.auth_client import AuthClient, Revocation

log = structlog.get_logger()
CHANNEL = "gatehouse:revocations"
_POLL_SECONDS = 1.0
_RETRY_SECONDS = 0.25
_PURGE_SECONDS = 60.0


class Judged(Protocol):
    """What can be revoked: a token's user, session and version."""

    @property
    def user(self) -> UUID: ...
    @property
    def session(self) -> UUID: ...
    @property
    def version(self) -> int: ...


class Revocations:
    """`on_change` is called with the sessions, keys and users concerned, so that caches forget them."""

    def __init__(self, auth: AuthClient) -> None:
        self._auth = auth
        self._seq = 0
        self._synced = False
        self._failing = False
        self._wake = asyncio.Event()
        self._ended: dict[UUID, float] = {}  # sessions, keys and users, with when the entry may be dropped
        self._versions: dict[UUID, tuple[int, float]] = {}
        self._purge_at = 0.0
        self.on_change: list[Callable[[Set[UUID]], None]] = []

    @property
    def is_failing(self) -> bool:
        """True while the auth service does not answer the feed."""
        return self._failing

    def require_synced(self) -> None:
        if not self._synced:
            raise ServiceUnavailable("Tokens cannot be verified at the moment", detail="revocations not read yet")

    def check(self, token: Judged) -> None:
        """Raises Unauthorized for an ended session or user, TokenExpired when a refresh brings a good token."""
        if token.session in self._ended or token.user in self._ended:
            raise Unauthorized("Session has ended")
        if token.version < self._versions.get(token.user, (0, 0.0))[0]:
            raise TokenExpired

    def is_ended(self, key_or_user: UUID | None) -> bool:
        return key_or_user in self._ended

    async def follow(self) -> None:
        """Reads the feed for ever."""
        while True:
            pause = _POLL_SECONDS if await self.read() else _RETRY_SECONDS
            self._wake.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def read(self) -> bool:
        """Reads what is new; False when the auth service cannot be asked. Also called once before we are ready."""
        try:
            await self._read()
        except ApiError as error:
            self._note(failing=True, detail=error.detail)
            return False
        except Exception:
            log.exception("revocation_feed_failed")
            return False
        self._note(failing=False)
        return True

    async def listen(self, redis: Redis) -> None:
        """Turns each published wake-up into an early read, for ever; without Valkey the poll remains."""
        while True:
            try:
                async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(CHANNEL)
                    while True:
                        if await pubsub.get_message(timeout=30) is not None:
                            self._wake.set()
            except (RedisError, OSError):
                await asyncio.sleep(_POLL_SECONDS)
            except Exception:
                log.exception("revocation_wakes_failed")
                await asyncio.sleep(_POLL_SECONDS)

    async def _read(self) -> None:
        while True:
            items, latest = await self._auth.revocations(self._seq)
            if latest < self._seq:
                self._seq = 0  # a database restored from an earlier day: read all of it again
                continue
            for item in items:
                self._apply(item)
            # Page by page: when the next one fails, what this one revoked is forgotten all the same.
            concerned = {item.subject for item in items}
            for forget in self.on_change if concerned else ():
                forget(concerned)
            if not items or self._seq >= latest:
                break
        self._synced = True
        self._drop_expired()

    def _apply(self, item: Revocation) -> None:
        self._seq = max(self._seq, item.seq)
        if item.kind == "version":
            known = self._versions.get(item.subject, (0, 0.0))[0]
            self._versions[item.subject] = (max(known, item.before or 0), item.expires_at)
        else:
            self._ended[item.subject] = item.expires_at

    def _drop_expired(self) -> None:
        # What they revoke has expired by itself by then.
        now = time.time()
        if now < self._purge_at:
            return
        self._purge_at = now + _PURGE_SECONDS
        self._ended = {subject: until for subject, until in self._ended.items() if until > now}
        self._versions = {subject: entry for subject, entry in self._versions.items() if entry[1] > now}

    def _note(self, *, failing: bool, detail: str = "") -> None:
        if failing and not self._failing:
            log.warning("revocation_feed_down", detail=detail)
        elif self._failing and not failing:
            log.info("revocation_feed_back")
        self._failing = failing
