"""The PostgreSQL pool of a service, and which failures mean that the database is away."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
import structlog
from aiohttp import web

from common.background import stop
from common.errors import ServiceUnavailable

log = structlog.get_logger()

# A lost, refused or stalled connection: the service is fine, its database is not.
_UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection was lost in the middle of an answer
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    OSError,  # TimeoutError is one
)
_CONNECT_SECONDS = 5
# What providers put into their URLs for libpq; asyncpg would send it on as a server setting, and be refused.
_LIBPQ_ONLY = frozenset({"channel_binding", "connect_timeout", "gssencmode", "load_balance_hosts", "require_auth"})
_LIBPQ_ONLY |= {"keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout"}
_STATEMENT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Per worker: `size_max` connections, `wait_seconds` for a free one."""

    dsn: str
    size_min: int = 0
    size_max: int = 10
    wait_seconds: float = 30
    # Behind a transaction pooler a prepared statement belongs to another session by the next query.
    prepared_statements: bool = True


class Database:
    """A lazily connecting pool: the service starts, and recovers, whatever the database does."""

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(
            without_libpq_options(self._options.dsn),
            min_size=0,
            max_size=self._options.size_max,
            timeout=_CONNECT_SECONDS,
            command_timeout=_STATEMENT_SECONDS,
            statement_cache_size=100 if self._options.prepared_statements else 0,
            reset=_leave_as_it_is,
        )

    async def warm(self) -> None:
        """Opens `size_min` connections ahead of the first requests. Raises ServiceUnavailable."""
        async with AsyncExitStack() as stack:
            for _ in range(self._options.size_min):
                await stack.enter_async_context(self.connection())

    async def close(self) -> None:
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), timeout=5)
            except TimeoutError:
                self._pool.terminate()

    @asynccontextmanager
    async def connection(self, *, wait_seconds: float | None = None) -> AsyncIterator[asyncpg.Connection]:
        """One connection. Raises ServiceUnavailable when the database is away or none gets free in time."""
        connection = await self._acquire(self._options.wait_seconds if wait_seconds is None else wait_seconds)
        try:
            yield connection
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
            # Nothing of it was done, and the other one has gone on: the same request may well succeed now.
            raise ServiceUnavailable(
                "The request collided with another, please try again", detail=_describe(error)
            ) from error
        except _UNAVAILABLE as error:
            # asyncpg's complaint about an argument is an InterfaceError too; that is our bug, not the database's.
            if isinstance(error, ValueError):
                raise
            raise ServiceUnavailable("The database is not available", detail=_describe(error)) from error
        finally:
            await self._release(connection)

    async def _release(self, connection: asyncpg.Connection) -> None:
        """Never raises because the connection was lost: what the block did, or raised, stands.

        An error here would answer 503 for what is committed already. asyncpg drops a connection it cannot reset.
        """
        assert self._pool is not None
        try:
            await self._pool.release(connection)
        except _UNAVAILABLE as error:
            log.warning("database_connection_lost", detail=_describe(error))

    async def _acquire(self, wait_seconds: float) -> asyncpg.Connection:
        assert self._pool is not None
        started = time.monotonic()
        try:
            return await self._pool.acquire(timeout=wait_seconds)
        except _UNAVAILABLE as error:
            # uvloop's clock has whole milliseconds, so its timers may be early by ours.
            waited_out = isinstance(error, TimeoutError) and time.monotonic() - started >= wait_seconds - 0.01
            message = "The database is busy" if waited_out else "The database is not available"
            raise ServiceUnavailable(message, detail=_describe(error)) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """One connection inside a transaction that commits when the block ends well."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def check(self) -> None:
        """Raises when the database does not answer within 2 s."""
        async with asyncio.timeout(2), self.connection(wait_seconds=2) as connection:
            await connection.fetchval("SELECT 1")


def without_libpq_options(dsn: str) -> str:
    """The URL as asyncpg understands it; for psycopg it stays as it is."""
    parts = urlsplit(dsn)
    kept = [word for word in parts.query.split("&") if word.partition("=")[0] not in _LIBPQ_ONLY]
    return parts._replace(query="&".join(kept)).geturl()


async def _leave_as_it_is(connection: asyncpg.Connection) -> None:
    """In place of asyncpg's reset, four statements in a round trip of their own after every request.

    Nothing here leaves anything in a session that a pooler would not forbid as well: settings are SET LOCAL, advisory
    locks are those of transactions, nobody listens. A transaction that is still open asyncpg rolls back before this.
    """


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


DATABASE: web.AppKey[Database] = web.AppKey("database", Database)


async def context(app: web.Application) -> AsyncIterator[None]:
    """A cleanup context for the application's DATABASE; it starts whether or not the server is there."""
    database = app[DATABASE]
    await database.open()
    warming = asyncio.create_task(_warm(database))
    yield
    await stop(warming)
    await database.close()


async def _warm(database: Database) -> None:
    try:
        await database.warm()
    except ServiceUnavailable as error:
        log.warning("database_not_warmed", detail=error.detail)
