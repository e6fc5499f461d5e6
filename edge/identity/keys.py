"""API keys: resolved by the auth service, remembered for ten seconds, forgotten at once when revoked."""

import asyncio
import time
from collections.abc import Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from common import api_keys
from common.errors import Unauthorized
from common.identity import Identity
from common.limits import Rule
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


class Keys:
    """Raises Unauthorized for a bad key, ServiceUnavailable when the auth service cannot be asked."""

    def __init__(self, auth: AuthClient, revocations: Revocations) -> None:
        self._auth = auth
        self._revocations = revocations
        self._remembered: dict[str, _Entry] = {}
        self._flights: dict[str, asyncio.Task[_Entry]] = {}
        revocations.on_change.append(self._forget)

    async def caller(self, key: str) -> Caller:
        entry = self._remembered.get(key)
        if entry is None or entry.fresh_until <= time.monotonic():
            entry = await self._resolve_once(key)
        if entry.expires_at is not None and entry.expires_at <= time.time():
            raise Unauthorized("API key has expired")
        return entry.caller

    async def _resolve_once(self, key: str) -> _Entry:
        """One call for equal look-ups; a caller that goes away does not fail the others."""
        if not api_keys.is_well_formed(key):
            raise Unauthorized("Invalid API key", detail="malformed")  # junk costs nobody a look-up
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._resolve(key))
            flight.add_done_callback(lambda task: self._finish(key, task))
        return await asyncio.shield(flight)

    async def _resolve(self, key: str) -> _Entry:
        data = await self._auth.resolve_key(key)
        entry = _Entry(_caller(data), time.monotonic() + _FRESH_SECONDS, data["expires_at"])
        if not self._is_revoked(entry):
            self._remember(key, entry)
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

    def _is_revoked(self, entry: _Entry) -> bool:
        identity = entry.caller.identity
        return self._revocations.is_ended(identity.key) or self._revocations.is_ended(identity.user)

    def _forget(self, concerned: Set[UUID]) -> None:
        for key, entry in list(self._remembered.items()):
            if entry.caller.identity.key in concerned or entry.caller.identity.user in concerned:
                del self._remembered[key]


def _caller(data: dict[str, Any]) -> Caller:
    identity = Identity(
        user=UUID(data["user"]) if data["user"] else None,
        org=UUID(data["org"]),
        role=data["role"],
        tier=data["tier"],
        key=UUID(data["key"]),
        permissions=frozenset(data["permissions"]),
    )
    limit = data.get("limit")
    rule = Rule("key", limit["count"], limit["seconds"], scope=str(identity.key)) if limit else None
    return Caller.of(identity, rule)
