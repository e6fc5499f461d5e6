"""The signing keys in memory. Read when first needed and again every minute, so a rotation reaches every worker."""

import asyncio

import asyncpg
import structlog
from aiohttp import web

from auth_service.signing.keys import PublicKey, SigningKey, Vault
from common.errors import ApiError
from common.postgres import Database

log = structlog.get_logger()
_RELOAD_SECONDS = 60.0
_RETRY_SECONDS = 1.0

# Retired keys sign nothing any more, but what they have signed is good until it expires.
_KEYS = """
    SELECT kid, public_key, encrypted_private, state FROM auth.signing_keys
    WHERE state IN ('published', 'signing', 'retired') ORDER BY created_at, kid
"""
# All workers start at once and find no key; one of them makes it.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('auth.signing_keys', 0))"
_INSERT = """
    INSERT INTO auth.signing_keys (kid, public_key, encrypted_private, state) VALUES ($1, $2, $3, 'signing')
"""


class Keyring:
    """Raises ServiceUnavailable while there are no keys and the database is away."""

    def __init__(self, database: Database, secret: str) -> None:
        self._database = database
        self._vault = Vault(secret)
        self._public: list[PublicKey] = []
        self._signing: SigningKey | None = None
        self._loading = asyncio.Lock()

    async def signing(self) -> SigningKey:
        if self._signing is None:
            await self._load_once()
        assert self._signing is not None
        return self._signing

    async def public(self) -> list[PublicKey]:
        """Every key whose signatures are to be believed, the oldest first."""
        if self._signing is None:
            await self._load_once()
        return self._public

    async def load(self) -> None:
        """Reads the keys; makes the first one."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(_KEYS)
        if not any(row["state"] == "signing" for row in rows):
            rows = await self._make_first()
        signing = next(row for row in rows if row["state"] == "signing")
        if self._signing is None or self._signing.kid != signing["kid"]:
            self._signing = self._vault.open(signing["kid"], signing["encrypted_private"])
        self._public = [PublicKey(row["kid"], row["public_key"]) for row in rows]

    async def run(self) -> None:
        """Keeps the keys fresh, for ever; those at hand are used until then."""
        while True:
            pause = _RELOAD_SECONDS
            try:
                await self.load()
            except ApiError as error:
                log.warning("signing_keys_not_loaded", detail=error.detail)
                pause = _RETRY_SECONDS if self._signing is None else _RELOAD_SECONDS
            except Exception:
                log.exception("signing_keys_not_loaded")
            await asyncio.sleep(pause)

    async def _load_once(self) -> None:
        async with self._loading:
            if self._signing is None:
                await self.load()

    async def _make_first(self) -> list[asyncpg.Record]:
        async with self._database.transaction() as conn:
            await conn.execute(_LOCK)
            rows = await conn.fetch(_KEYS)
            if any(row["state"] == "signing" for row in rows):
                return list(rows)
            public, encrypted = self._vault.make()
            await conn.execute(_INSERT, public.kid, public.raw, encrypted)
            log.info("signing_key_created", kid=public.kid)
            return list(await conn.fetch(_KEYS))


KEYRING: web.AppKey[Keyring] = web.AppKey("keyring", Keyring)
