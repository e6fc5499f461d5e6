"""Waits until a database takes connections: on a host it may start after us, or be away for an hour."""

import asyncio
import time
from collections.abc import Callable

import asyncpg

POLL_SECONDS = 1.0
REPEAT_SECONDS = 60.0
_CONNECT_SECONDS = 10.0
# It is there and not ready: starting, shutting down, full. Whatever else it answers (a wrong password, no such
# database) will not get better by waiting, and is left to who comes next to say.
_NOT_YET = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ConnectionDoesNotExistError,
)


def wait_for_database(url: str, say: Callable[[str], None], *, poll_seconds: float = POLL_SECONDS) -> None:
    """Returns as soon as the database at `url` answers, be it with a refusal; says so at first and each minute."""
    said_at = 0.0
    while (reason := asyncio.run(_away(url))) is not None:
        if time.monotonic() - said_at > REPEAT_SECONDS or not said_at:
            said_at = time.monotonic()
            say(f"waiting for the database: {reason}")
        time.sleep(poll_seconds)


async def _away(url: str) -> str | None:
    """Why nobody can work with it yet."""
    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS, statement_cache_size=0)
    except _NOT_YET as error:
        return next(iter(str(error).splitlines()), "") or type(error).__name__
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError):
        return None
    await connection.close()
    return None
