"""Deleted users are forgotten: once, completely, whatever fails on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from common.postgres import Database, PoolOptions
from common.valkey import connect
from common.worker import Worker
from core_service import modules
from core_service.app import create_app, stop
from core_service.modules import expenses
from core_service.purge import CHANNEL, AuthFeed, Purger
from tests.core_service.conftest import AUTH_KEY, Serve, make_settings
from tests.core_service.relay import Relay


class FakeAuth:
    """The feed of the auth service, to be written by the test."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.asked = asyncio.Event()
        self.afters: list[int] = []
        self.status = 200
        app = web.Application()
        app.router.add_get("/internal/revocations", self._answer)
        self.server = TestServer(app)

    def add(self, kind: str, subject: UUID | None = None) -> int:
        seq = len(self.entries) + 1
        self.entries.append({"seq": seq, "kind": kind, "subject": str(subject or uuid4()), "before": None})
        return seq

    async def _answer(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"ApiKey {AUTH_KEY}"
        after, limit = int(request.query["after"]), int(request.query["limit"])
        self.afters.append(after)
        self.asked.set()
        newer = [entry for entry in self.entries if entry["seq"] > after]
        latest = max((entry["seq"] for entry in self.entries), default=0)
        body = {"success": True, "data": {"items": newer[:limit], "latest": latest}}
        return web.json_response(body, status=self.status)


@pytest.fixture
async def auth() -> AsyncIterator[FakeAuth]:
    auth = FakeAuth()
    async with auth.server:
        yield auth


@pytest.fixture
async def own(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A look at the database that this test has for itself."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def make_purger(database_url: str, auth: FakeAuth) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def make(url: str = database_url, *, names: tuple[str, ...] = ("expenses",), **given: Any) -> Purger:
            database = Database(PoolOptions(url, size_max=3))
            await database.open()
            stack.push_async_callback(database.close)
            feed = AuthFeed(session, str(auth.server.make_url("/")).rstrip("/"), AUTH_KEY)
            return Purger(database, feed, modules.load(names), **given)

        yield make


async def add_rows(connection: asyncpg.Connection, user: UUID, org: UUID | None = None) -> None:
    org, category = org or uuid4(), uuid4()
    await connection.execute(
        """
        INSERT INTO core.categories (user_id, org_id, id, name, name_key, color)
        VALUES ($1, $2, $3, 'A', 'a', '#000000')
        """,
        *(user, org, category),
    )
    await connection.execute(
        """
        INSERT INTO core.expenses (user_id, org_id, id, amount, date, category_id)
        VALUES ($1, $2, $3, 1, '2025-01-01', $4)
        """,
        *(user, org, uuid4(), category),
    )


async def rows_of(connection: asyncpg.Connection, user: UUID) -> int:
    return sum(len(rows) for rows in (await expenses.export(connection, user)).values())


async def position(connection: asyncpg.Connection) -> int | None:
    seq: int | None = await connection.fetchval("SELECT seq FROM core.feed_positions")
    return seq


async def test_deleted_user_is_purged_in_every_organization_and_the_step_remembered(
    own: asyncpg.Connection, auth: FakeAuth, make_purger: Any
) -> None:
    gone, stays, org = uuid4(), uuid4(), uuid4()
    for user in (gone, stays):
        await add_rows(own, user, org)
        await add_rows(own, user)
    auth.add("session")
    auth.add("version", stays)
    auth.add("user", gone)
    auth.add("key")
    await (await make_purger()).catch_up()
    assert (await rows_of(own, gone), await rows_of(own, stays)) == (0, 4)
    assert await position(own) == 4
    await (await make_purger()).catch_up()
    assert auth.afters == [0, 4]


async def test_export_holds_all_of_a_user_and_nothing_of_another(own: asyncpg.Connection) -> None:
    me, org = uuid4(), uuid4()
    await add_rows(own, me, org)
    await add_rows(own, uuid4(), org)
    exported = await expenses.export(own, me)
    assert [row["org_id"] for row in exported["categories"]] == [str(org)]
    assert [row["amount"] for row in exported["expenses"]] == ["1.00"]


async def test_failing_module_keeps_the_rows_and_the_step_until_it_works(
    own: asyncpg.Connection, auth: FakeAuth, make_purger: Any, database_url: str
) -> None:
    first, second = uuid4(), uuid4()
    for user in (first, second):
        await add_rows(own, user)
    auth.add("user", first)
    seq = auth.add("user", second)
    purger = await make_purger()
    await own.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
        CREATE TRIGGER refuse BEFORE DELETE ON core.categories FOR EACH ROW WHEN (OLD.user_id = '{second}')
        EXECUTE FUNCTION refuse();
        """
    )
    with pytest.raises(asyncpg.RaiseError):
        await purger.catch_up()
    assert (await rows_of(own, first), await rows_of(own, second)) == (0, 2)
    assert await position(own) == seq - 1
    await own.execute("DROP TRIGGER refuse ON core.categories")
    await purger.catch_up()
    assert (await rows_of(own, second), await position(own)) == (0, seq)


async def test_several_workers_purge_once_and_end_at_the_newest(
    own: asyncpg.Connection, auth: FakeAuth, make_purger: Any
) -> None:
    users = [uuid4() for _ in range(10)]
    for user in users:
        await add_rows(own, user)
        auth.add("user", user)
    purgers = [await make_purger() for _ in range(3)]
    await asyncio.gather(*(purger.catch_up() for purger in purgers))
    assert [await rows_of(own, user) for user in users] == [0] * 10
    assert await position(own) == 10


async def test_feed_longer_than_a_batch_is_read_to_its_end(
    own: asyncpg.Connection, auth: FakeAuth, make_purger: Any
) -> None:
    for _ in range(1500):
        auth.add("session")
    gone = uuid4()
    await add_rows(own, gone)
    auth.add("user", gone)
    await (await make_purger()).catch_up()
    assert (await rows_of(own, gone), await position(own)) == (0, 1501)
    assert auth.afters == [0, 1000]


async def test_feed_that_went_back_is_read_from_its_start(
    own: asyncpg.Connection, auth: FakeAuth, make_purger: Any
) -> None:
    for _ in range(9):
        auth.add("session")
    await (await make_purger()).catch_up()
    del auth.entries[3:]
    gone = uuid4()
    await add_rows(own, gone)
    auth.add("user", gone)
    await (await make_purger()).catch_up()
    assert (await rows_of(own, gone), await position(own)) == (0, 4)


async def test_rows_written_after_the_purge_are_deleted_too(
    own: asyncpg.Connection, auth: FakeAuth, make_purger: Any
) -> None:
    gone = uuid4()
    auth.add("user", gone)
    purger = await make_purger(repeat_after_seconds=60)
    await purger.catch_up()
    await add_rows(own, gone)
    await purger.repeat()
    assert await rows_of(own, gone) == 2  # not yet
    await own.execute("UPDATE core.recent_purges SET purged_at = now() - interval '61 s'")
    await purger.repeat()
    assert await rows_of(own, gone) == 0
    assert await own.fetchval("SELECT count(*) FROM core.recent_purges") == 0


async def test_module_without_tables_does_not_stop_the_others(
    own: asyncpg.Connection, auth: FakeAuth, make_purger: Any
) -> None:
    await own.execute("DROP TABLE core.expenses, core.categories")
    seq = auth.add("user")
    await (await make_purger()).catch_up()
    assert await position(own) == seq


async def test_loop_survives_auth_and_the_database_being_away(
    own: asyncpg.Connection, auth: FakeAuth, make_purger: Any, database_url: str
) -> None:
    async with Relay(database_url) as relay:
        purger = await make_purger(relay.url, poll_seconds=0.01)
        auth.status = 500
        running = asyncio.create_task(purger.run())
        try:
            async with asyncio.timeout(20):
                await _asked_again(auth)
                await relay.cut()
                auth.status = 200
                gone = uuid4()
                await add_rows(own, gone)
                auth.add("user", gone)
                await relay.restore()
                while await rows_of(own, gone):
                    await _asked_again(auth)
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.wait([running], timeout=5)
        assert running.cancelled()


async def _asked_again(auth: FakeAuth) -> None:
    auth.asked.clear()
    await auth.asked.wait()


async def test_wake_up_purges_long_before_the_next_poll(
    own: asyncpg.Connection, auth: FakeAuth, make_purger: Any, redis_url: str
) -> None:
    gone = uuid4()
    await add_rows(own, gone)
    purger = await make_purger(poll_seconds=3600)
    async with asyncio.timeout(10), connect(redis_url) as valkey:
        tasks = [asyncio.create_task(purger.run()), asyncio.create_task(purger.listen(valkey))]
        try:
            await auth.asked.wait()
            seq = auth.add("user", gone)
            while not await valkey.publish(CHANNEL, str(seq)):
                await asyncio.sleep(0.01)  # until it has subscribed
            while await rows_of(own, gone):
                await asyncio.sleep(0.01)
        finally:
            for task in tasks:
                await stop(task)


async def test_disabled_modules_forget_too(
    own: asyncpg.Connection, auth: FakeAuth, serve: Serve, database_url: str
) -> None:
    gone = uuid4()
    await add_rows(own, gone)
    auth.add("user", gone)
    await serve(DATABASE_URL=database_url, AUTH_URL=str(auth.server.make_url("/")), MODULES="[]")
    async with asyncio.timeout(10):
        while await rows_of(own, gone):
            await asyncio.sleep(0.01)


def test_create_app_does_no_io() -> None:
    """Nothing but the start opens connections: wiring works outside any event loop."""
    assert create_app(make_settings(DATABASE_URL="postgresql://nowhere.invalid/x"), runtime=Worker())
