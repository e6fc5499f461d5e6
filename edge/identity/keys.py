"""API keys: resolved by the auth service, remembered for ten seconds, forgotten at once when revoked."""

import asyncio
import time
from collections.abc import Set
from dataclasses import dataclass
from uuid import UUID

from common import api_keys
from common.errors import ServiceUnavailable, Unauthorized
from edge.identity.auth_client import AuthClient
from edge.identity.caller import Caller
from edge.identity.revocations import Revocations

_FRESH_SECONDS = 10.0
_REMEMBERED_MAX = 50_000


@dataclass(frozen=True, slots=True)
class _Entry:
    caller: Caller
    fresh_until: float  # monotonic
    expires_at: float | None  # Unix second

    def good_caller(self) -> Caller:
        if self.expires_at is not None and self.expires_at <= time.time():
            raise Unauthorized("API key has expired")
        return self.caller


class Keys:
    """Raises Unauthorized for a bad key, ServiceUnavailable when the auth service cannot be asked."""

    def __init__(self, auth: AuthClient, revocations: Revocations) -> None:
        self._auth = auth
        self._revocations = revocations
        self._remembered: dict[str, _Entry] = {}
        self._flights: dict[str, asyncio.Task[_Entry]] = {}
        self._changes = 0  # how often the feed has brought something
        revocations.on_change.append(self._forget)

    def remembered(self, key: str) -> Caller | None:
        """The caller without asking anybody; None when that takes a look-up. Raises Unauthorized."""
        if not api_keys.is_well_formed(key):
            raise Unauthorized("Invalid API key", detail="malformed")  # junk costs nobody a look-up
        entry = self._remembered.get(key)
        return None if entry is None or entry.fresh_until <= time.monotonic() else entry.good_caller()

    async def resolve(self, key: str) -> Caller:
        """One call for equal look-ups; a caller that goes away does not fail the others."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._resolve(key))
            flight.add_done_callback(lambda task: self._finish(key, task))
        return (await asyncio.shield(flight)).good_caller()

    async def _resolve(self, key: str) -> _Entry:
        changes = self._changes
        try:
            found = await self._auth.resolve_key(key)
        except Unauthorized:
            if self._revocations.is_failing:  # it refuses us, not the key
                raise ServiceUnavailable("The auth service is not available", detail="feed is failing") from None
            raise
        entry = _Entry(Caller.of(found.identity, found.rule), time.monotonic() + _FRESH_SECONDS, found.expires_at)
        if self._revocations.is_ended(found.identity.key) or self._revocations.is_ended(found.identity.user):
            raise Unauthorized("API key has been revoked")
        if changes == self._changes:
            self._remember(key, entry)  # else it may be older than what the feed has brought meanwhile
        return entry

    def _finish(self, key: str, task: asyncio.Task[_Entry]) -> None:
        self._flights.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen: whoever waited has it too

    def _remember(self, key: str, entry: _Entry) -> None:
        if len(self._remembered) >= _REMEMBERED_MAX:
            for old in list(self._remembered)[: _REMEMBERED_MAX // 8]:
                del self._remembered[old]
        self._remembered[key] = entry

    def _forget(self, concerned: Set[UUID]) -> None:
        self._changes += 1
        for key, entry in list(self._remembered.items()):
            if entry.caller.identity.key in concerned or entry.caller.identity.user in concerned:
                del self._remembered[key]
