"""Sessions: opened by a password, carried on by refresh tokens, ended by whoever holds one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog
from aiohttp import web
from argon2.exceptions import HashingError

from auth_service.accounts import store as accounts
from auth_service.accounts.addresses import identifier
from auth_service.accounts.models import Account
from auth_service.attempts.guard import Guard
from auth_service.clock import Clock
from auth_service.passwords import Hasher
from auth_service.revocations.store import append
from auth_service.revocations.wakes import Wakes
from auth_service.sessions import store
from auth_service.sessions.models import Login, Tokens
from auth_service.sessions.refresh_tokens import RefreshTokens
from auth_service.signing.keyring import Keyring
from auth_service.signing.tokens import TokenRules, issue
from auth_service.visitors import Visitor
from common.errors import ServiceUnavailable, Unauthorized
from common.postgres import Database

log = structlog.get_logger()
# An edge may take a token this much longer than it says; its revocation must outlive that.
_LEEWAY = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Raises ServiceUnavailable when the database is away or the hasher has no room."""

    database: Database
    hasher: Hasher
    guard: Guard
    keyring: Keyring
    wakes: Wakes
    refresh_tokens: RefreshTokens
    token_rules: TokenRules
    idle: timedelta
    clock: Clock

    async def login(self, login: Login, visitor: Visitor) -> Tokens:
        """One hash, whoever is tried: unknown, wrong and disabled look alike in every respect.

        Raises Unauthorized, TooManyRequests.
        """
        with self.hasher.admit() as permit:
            key = await self.keyring.signing()  # before the attempt counts: without it nobody gets in
            name = identifier(login.email)
            reservation = await self.guard.reserve(name, visitor)
            async with self.database.connection() as conn:
                found = await accounts.find_credential(conn, name)
            is_right = await permit.matches(found.password_hash if found else None, login.password)
        async with self.database.connection() as conn:
            session = None
            if found and found.password_hash and found.is_active and is_right:
                await self.guard.refund(conn, reservation)
                password_hash = await self._renewed(conn, found.account, found.password_hash, login.password)
                session = await store.open_session(
                    conn, found.account, password_hash, visitor, now=self.clock(), idle=self.idle
                )
            if found is None or session is None:
                await self._fail(conn, found.account if found else None, visitor)
                raise Unauthorized("Invalid email or password")
        log.info("login_succeeded", user=found.account.id, session=session, address=visitor.address)
        access = issue(self.token_rules, key, found.account, session, self.clock())
        return self._tokens(found.account, access, session, 1)

    async def refresh(self, token: str, visitor: Visitor) -> Tokens:
        """The next generation. The previous token brings the same successor again while that is unused (a lost answer,
        two tabs); any older one is taken for a stolen one and ends the session.

        Raises Unauthorized.
        """
        family, generation = self.refresh_tokens.read(token) or (None, 0)
        if family is None:
            raise Unauthorized("Invalid refresh token")
        key = await self.keyring.signing()
        async with self.database.connection() as conn:
            is_first = await store.rotate(conn, family, generation, self.clock(), self.idle)
            session = await store.find(conn, family, self.clock())
        if session is None or not session.is_live or generation >= session.generation:
            raise Unauthorized("Invalid refresh token")
        if not is_first and generation < session.generation - 1:
            log.warning("refresh_reused", user=session.account.id, session=family, address=visitor.address)
            await self.end([family], "refresh_reused")
            raise Unauthorized("Invalid refresh token")
        access = issue(self.token_rules, key, session.account, family, self.clock())
        return self._tokens(session.account, access, family, generation + 1)

    async def logout(self, session: UUID | None, token: str | None) -> None:
        """Ends the caller's session and the token's, whichever are given and live."""
        family, _ = self.refresh_tokens.read(token or "") or (None, 0)
        if ended := [one for one in (session, family) if one]:
            await self.end(ended, "logout")

    async def end(self, sessions: list[UUID], reason: str) -> None:
        """Their refresh tokens end now, their access tokens within a second."""
        async with self.database.transaction() as conn:
            ended = await store.revoke(conn, sessions, self.clock(), reason)
            seq = await append(conn, "session", list(ended), self.revoked_until())
        self.wakes.notify(seq)
        for session, user in ended.items():
            log.info("session_revoked", user=user, session=session, reason=reason)

    async def end_others(self, conn: asyncpg.Connection, user: UUID, current: UUID | None, reason: str) -> int:
        """Within the caller's transaction, as its last step; the seq to notify after its commit."""
        ended = await store.revoke_others(conn, user, current, self.clock(), reason)
        return await append(conn, "session", ended, self.revoked_until())

    def revoked_until(self) -> datetime:
        """When the last access token given out by now has expired by itself."""
        return self.clock() + self.token_rules.lifetime + _LEEWAY

    async def _fail(self, conn: asyncpg.Connection, account: Account | None, visitor: Visitor) -> None:
        user = account.id if account else None
        await store.record_failure(conn, user, visitor, self.clock())
        log.warning("login_failed", user=user, address=visitor.address)

    async def _renewed(self, conn: asyncpg.Connection, account: Account, password_hash: str, password: str) -> str:
        """The hash that is stored now: with current parameters if there was room to make it."""
        if not self.hasher.is_outdated(password_hash):
            return password_hash
        try:
            with self.hasher.admit() as permit:
                renewed = await permit.hash(password)
        except (ServiceUnavailable, HashingError):
            return password_hash
        return renewed if await accounts.update_password(conn, account.id, password_hash, renewed) else password_hash

    def _tokens(self, account: Account, access: str, session: UUID, generation: int) -> Tokens:
        lifetime = max(1, int(self.token_rules.lifetime.total_seconds()))
        return Tokens(account, access, self.refresh_tokens.make(session, generation), lifetime)


SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions", Sessions)
