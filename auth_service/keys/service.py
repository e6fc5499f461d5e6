"""Making, ending and resolving API keys."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg
import structlog
from aiohttp import web

from auth_service.accounts import store as accounts
from auth_service.callers import gone
from auth_service.clock import Clock
from auth_service.keys import store
from auth_service.keys.models import Key, NewKey
from auth_service.keys.pepper import Pepper
from auth_service.revocations.store import append
from auth_service.revocations.wakes import Wakes
from common import api_keys
from common.errors import NotFound, Unauthorized, ValidationError
from common.identity import Identity
from common.postgres import Database
from common.validation import PageQuery

log = structlog.get_logger()
# Longer than an edge remembers a key, by far.
_REVOCATION_KEPT = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Raises ServiceUnavailable when the database is away."""

    database: Database
    pepper: Pepper
    wakes: Wakes
    clock: Clock

    async def create(self, identity: Identity, new: NewKey) -> tuple[Key, str]:
        """The stored key and its text, which nobody can ask for again. Raises Forbidden, ValidationError."""
        identity.require_sign_in()  # a key's child would outlive its expiry and its revocation
        now, user = self.clock(), identity.own_user()
        scopes = _within(identity, new)
        if new.expires_at is not None and new.expires_at <= now:
            raise ValidationError({"expiresAt": ["Expires at must be in the future"]})
        text = api_keys.make()
        async with self.database.transaction() as conn:
            if not await accounts.hold(conn, user):
                raise gone()
            try:
                key_id = await store.insert(
                    conn,
                    org=identity.org,
                    user=user,
                    name=new.name,
                    hash_=self.pepper.hash(text),
                    pepper_id=self.pepper.id,
                    preview=api_keys.preview(text),
                    scopes=scopes,
                    created_at=now,
                    expires_at=new.expires_at,
                )
            except asyncpg.ForeignKeyViolationError:
                raise gone() from None
            key = await store.find(conn, user, identity.org, key_id)
        if key is None:
            raise gone()
        log.info("api_key_created", user=user, key=key_id)
        return key, text

    async def list(self, identity: Identity, query: PageQuery) -> tuple[list[Key], int]:
        async with self.database.connection() as conn:
            return await store.page(conn, identity.own_user(), identity.org, limit=query.per_page, offset=query.offset)

    async def get(self, identity: Identity, key_id: UUID) -> Key:
        """Raises NotFound for somebody else's, too."""
        async with self.database.connection() as conn:
            key = await store.find(conn, identity.own_user(), identity.org, key_id)
        if key is None:
            raise NotFound
        return key

    async def revoke(self, identity: Identity, key_id: UUID) -> None:
        """Raises NotFound for somebody else's, too."""
        now, user = self.clock(), identity.own_user()
        async with self.database.transaction() as conn:
            if not await store.revoke(conn, user, identity.org, key_id, now):
                raise NotFound
            seq = await append(conn, "key", [key_id], now + _REVOCATION_KEPT)
        self.wakes.notify(seq)
        log.info("api_key_revoked", user=user, key=key_id)

    async def resolve(self, text: str) -> Key:
        """The live key with this text. Raises Unauthorized."""
        invalid = Unauthorized("Invalid API key")
        if not api_keys.is_well_formed(text):
            raise invalid
        async with self.database.connection() as conn:
            key = await store.resolve(conn, self.pepper.hash(text), self.clock())
        if key is None:
            raise invalid
        return key


def _within(identity: Identity, new: NewKey) -> list[str] | None:
    """The new key's scopes, which never exceed the caller's permissions. Raises ValidationError."""
    if new.scopes is None:
        return None  # it grows and shrinks with its owner's role
    scopes = sorted(set(new.scopes))
    if missing := [scope for scope in scopes if not identity.allows(scope)]:
        raise ValidationError({"scopes": [f"You do not hold {scope} yourself" for scope in missing]})
    return scopes


KEYS: web.AppKey[Keys] = web.AppKey("keys", Keys)
