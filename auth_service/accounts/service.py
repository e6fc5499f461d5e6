"""What users do with their own account."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from aiohttp import web

from auth_service.accounts import rules, store
from auth_service.accounts.models import Account, PasswordChange, Profile, Registration
from auth_service.attempts.guard import Guard
from auth_service.callers import gone
from auth_service.clock import Clock
from auth_service.passwords import Hasher
from auth_service.revocations.store import append
from auth_service.revocations.wakes import Wakes
from auth_service.sessions.service import Sessions
from auth_service.visitors import Visitor
from common.errors import Unauthorized, ValidationError
from common.identity import Identity
from common.postgres import Database

log = structlog.get_logger()
# Others delete their rows when they read of a user's end: one that was away, or restored, must still find it.
_DELETION_KEPT = timedelta(days=400)


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """Raises ServiceUnavailable when the database is away or the hasher has no room."""

    database: Database
    hasher: Hasher
    guard: Guard
    sessions: Sessions
    wakes: Wakes
    clock: Clock

    async def register(self, new: Registration, visitor: Visitor) -> Account:
        """A user with a personal organization. Raises Conflict for a known address or name."""
        with self.hasher.admit() as permit:
            async with self.database.connection() as conn:
                await store.refuse_taken(conn, new)
            password_hash = await permit.hash(new.password)
        async with self.database.transaction() as conn:
            user, org = await store.insert_personal(conn, new, password_hash)
            account = await store.find(conn, user, org)
        assert account is not None
        log.info("account_registered", user=user, address=visitor.address)
        return account

    async def get(self, identity: Identity) -> Account:
        async with self.database.connection() as conn:
            account = await store.find(conn, identity.own_user(), identity.org)
        if account is None:
            raise gone()
        return account

    async def update(self, identity: Identity, profile: Profile) -> Account:
        """Raises Conflict for a taken name."""
        changes: dict[str, str | None] = profile.model_dump(include=profile.model_fields_set)
        async with self.database.transaction() as conn:
            await store.update_profile(conn, identity.own_user(), changes)
        return await self.get(identity)

    async def change_password(self, identity: Identity, change: PasswordChange, visitor: Visitor) -> None:
        """Ends every other session. A wrong current password counts as a failed attempt to sign in.

        Raises Unauthorized, TooManyRequests, ValidationError.
        """
        identity.require_sign_in()
        user = identity.own_user()
        with self.hasher.admit() as checking, self.hasher.admit() as making:
            own = await self._own_password(user, change.new_password)
            reservation = await self.guard.reserve(own.identifier, visitor)
            if not await checking.matches(own.password_hash, change.current_password) or own.password_hash is None:
                log.warning("login_failed", user=user, address=visitor.address, reason="current_password")
                raise _wrong()
            new_hash = await making.hash(change.new_password)
        async with self.database.connection() as conn:
            await self.guard.refund(conn, reservation)
            async with conn.transaction():
                if not await store.update_password(conn, user, own.password_hash, new_hash):
                    raise _wrong()  # another change was faster
                seq = await self.sessions.end_others(conn, user, identity.session, "password_changed")
        self.wakes.notify(seq)
        log.info("password_changed", user=user, address=visitor.address)

    async def delete(self, identity: Identity, visitor: Visitor) -> None:
        """The user and everything of theirs here; others follow the feed and delete theirs. Raises Forbidden."""
        identity.require_sign_in()
        user = identity.own_user()
        async with self.database.transaction() as conn:
            if not await store.delete(conn, user):
                raise gone()
            seq = await append(conn, "user", [user], self.clock() + _DELETION_KEPT)
        self.wakes.notify(seq)
        log.info("account_deleted", user=user, address=visitor.address)

    async def _own_password(self, user: UUID, new_password: str) -> store.OwnPassword:
        async with self.database.connection() as conn:
            own = await store.find_password(conn, user)
        if own is None:
            raise gone()
        if fault := rules.weakness(new_password, own.personal):
            raise ValidationError({"newPassword": [fault]})
        return own


def _wrong() -> Unauthorized:
    return Unauthorized("Current password is wrong")


ACCOUNTS: web.AppKey[Accounts] = web.AppKey("accounts", Accounts)
