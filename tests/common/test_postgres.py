"""The pool when its database goes away: what was done stands, what was not is a 503, and nothing is lost for good."""

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import psycopg
import pytest

from common.errors import NotFound, ServiceUnavailable
from common.postgres import Database, PoolOptions


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection: one that is not given back is missed."""
    database = Database(PoolOptions(empty_database_url, size_max=1, wait_seconds=5))
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def kill(empty_database_url: str) -> Callable[[asyncpg.Connection], None]:
    """Ends a connection's backend without a turn of the loop, so that nobody in this process notices."""

    def end(connection: asyncpg.Connection) -> None:
        with psycopg.connect(empty_database_url, autocommit=True) as other:
            ended = other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.get_server_pid()]).fetchone()
        assert ended == (True,)

    return end


async def test_connection_lost_after_the_work_leaves_the_work_done(
    database: Database, kill: Callable[[asyncpg.Connection], None]
) -> None:
    gone = asyncio.Event()
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE notes ()")
        connection.add_termination_listener(lambda _: gone.set())
        kill(connection)
    async with asyncio.timeout(5):
        await gone.wait()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM notes") == 0


async def test_connection_lost_during_the_work_is_503(
    database: Database, kill: Callable[[asyncpg.Connection], None]
) -> None:
    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute("CREATE TABLE notes ()")
            kill(connection)

    with pytest.raises(ServiceUnavailable):
        await work()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT to_regclass('notes')") is None


async def test_what_the_work_raised_is_not_masked_by_the_lost_connection(
    database: Database, kill: Callable[[asyncpg.Connection], None]
) -> None:
    gone = asyncio.Event()

    async def work() -> None:
        async with database.connection() as connection:
            connection.add_termination_listener(lambda _: gone.set())
            kill(connection)
            raise NotFound

    with pytest.raises(NotFound):
        await work()
    async with asyncio.timeout(5):
        await gone.wait()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_call_that_gets_no_connection_in_time_is_503(empty_database_url: str) -> None:
    database = Database(PoolOptions(empty_database_url, size_max=1, wait_seconds=0.2))
    await database.open()
    try:
        async with database.connection() as held, asyncio.timeout(5):
            with pytest.raises(ServiceUnavailable):
                async with database.connection():
                    pass
            assert await held.fetchval("SELECT 1") == 1  # whoever has one is not disturbed
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1
    finally:
        await database.close()


async def test_transaction_left_open_is_rolled_back_before_the_next_one_gets_the_connection(database: Database) -> None:
    async def leave_open() -> None:
        async with database.connection() as connection:
            await connection.execute("BEGIN")
            await connection.execute("CREATE TABLE notes ()")

    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    await leave_open()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT to_regclass('notes')") is None
        assert not connection.is_in_transaction()
    assert "active transaction" in str(told[0]["message"])  # our mistake, and it is said


async def test_a_request_costs_no_round_trip_for_giving_its_connection_back(
    database: Database, empty_database_url: str
) -> None:
    """A round trip to clean up the session doubled what PostgreSQL had to do for a short request."""
    async with database.connection() as connection:
        pid = connection.get_server_pid()
        assert await connection.fetchval("SELECT 1") == 1
    with psycopg.connect(empty_database_url, autocommit=True) as other:
        last = other.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    assert last == ("SELECT 1",)


async def test_url_as_a_provider_gives_it_is_taken(empty_database_url: str) -> None:
    options = "sslmode=prefer&channel_binding=prefer&connect_timeout=10&application_name=of-the-test"
    database = Database(PoolOptions(f"{empty_database_url}?{options}", size_max=1, wait_seconds=5))
    await database.open()
    try:
        async with database.connection() as connection:
            assert await connection.fetchval("SHOW application_name") == "of-the-test"
    finally:
        await database.close()
