"""The feed: in order, complete, waking; and what housekeeping may take from it."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import redis.asyncio

from auth_service import housekeeping
from auth_service.revocations import store
from auth_service.revocations.wakes import CHANNEL
from common.postgres import Database, PoolOptions
from tests.auth_service.client import FakeClock

LATER = datetime.now(UTC) + timedelta(days=1)


async def test_empty_feed_is_at_zero(auth):
    assert await auth.revocations() == {"items": [], "latest": 0}


async def test_feed_is_read_in_order_from_a_position(auth, sql):
    subjects = [uuid4() for _ in range(5)]
    for subject in subjects:
        await store.append(sql, "session", [subject], LATER)
    page = (await auth.call("GET", "/internal/revocations?after=1&limit=2")).data
    assert [item["subject"] for item in page["items"]] == [str(subject) for subject in subjects[1:3]]
    assert page["items"][0].keys() == {"seq", "kind", "subject", "before", "expires_at"}
    assert page["items"][0]["expires_at"] == int(LATER.timestamp())
    assert (page["items"][0]["seq"], page["latest"]) == (2, 5)
    assert await auth.revocations(after=5) == {"items": [], "latest": 5}


async def test_expired_lines_are_left_out_but_count_as_read(auth, sql):
    await store.append(sql, "session", [uuid4()], datetime.now(UTC) - timedelta(seconds=1))
    assert await auth.revocations() == {"items": [], "latest": 1}


async def test_bad_positions_are_refused(auth):
    for query in ("after=-1", "after=x", f"after={2**63}", "limit=0", "limit=1001", "since=1", "after=%00"):
        assert (await auth.call("GET", f"/internal/revocations?{query}")).status == 422, query


async def test_later_number_is_never_visible_before_an_earlier_one(database_url, sql):
    """The first transaction has drawn its number and dawdles: the second must not overtake it."""
    other = await asyncpg.connect(database_url)
    transaction = sql.transaction()
    await transaction.start()
    first = await store.append(sql, "session", [uuid4()], LATER)

    async def overtake():
        async with other.transaction():
            return await store.append(other, "session", [uuid4()], LATER)

    second = asyncio.create_task(overtake())
    await _until_someone_waits(sql)
    assert not second.done()
    await transaction.commit()
    assert await asyncio.wait_for(second, 10) > first
    await other.close()


async def _until_someone_waits(conn):
    async with asyncio.timeout(10):
        while not await conn.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
        ):
            await asyncio.sleep(0)


async def test_edges_are_woken_after_the_commit(auth, clean_redis_url):
    token = await auth.signed_in()
    async with redis.asyncio.from_url(clean_redis_url) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(CHANNEL)
        assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
        await auth.call("POST", "/api/v1/auth/logout", who=token)
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=5)
        assert message["data"] == b"1"
        assert (await auth.revocations())["latest"] == 1


async def test_logout_works_while_valkey_is_away(start_auth):
    auth = await start_auth(REDIS_URL="redis://127.0.0.1:1")
    token = await auth.signed_in()
    assert (await auth.call("POST", "/api/v1/auth/logout", who=token)).status == 204
    ready = await auth.call("GET", "/health/ready")
    assert (ready.status, ready.body["status"], ready.body["checks"]["redis"]) == (200, "degraded", "unhealthy")


async def test_housekeeping_removes_what_has_expired_only(start_auth, environ, sql):
    clock = FakeClock()
    auth = await start_auth(clock=clock)
    await auth.register()
    await auth.login()
    clock.advance(days=31)
    kept = await auth.login()
    await store.append(sql, "session", [uuid4()], clock.now - timedelta(seconds=1))
    await store.append(sql, "user", [uuid4()], clock.now + timedelta(days=1))
    await store.append(sql, "session", [uuid4()], clock.now - timedelta(seconds=1))
    await auth.try_login("nobody@example.com")
    await sql.execute("UPDATE auth.attempts SET last_at = last_at - interval '13 hours'")
    await auth.try_login("somebody@example.com", address="198.51.100.9")

    database = Database(PoolOptions(environ["DATABASE_URL"], size_max=1))
    await database.open()
    await housekeeping.tidy(database, clock)
    await database.close()

    assert await sql.fetchval("SELECT count(*) FROM auth.sessions") == 1
    assert (await auth.refresh(kept["refreshToken"])).status == 200
    assert await sql.fetchval("SELECT count(*) FROM auth.attempts") == 2
    # The newest line stays although it has expired: followers compare their position with it.
    assert [row["seq"] for row in await sql.fetch("SELECT seq FROM auth.revocations ORDER BY seq")] == [2, 3]


async def test_sign_ins_are_partitioned_by_month_and_kept_ninety_days(sql):
    parts = """
        SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
        WHERE inhparent = 'auth.login_events'::regclass
    """
    before = {row["relname"] for row in await sql.fetch(parts)}
    assert len(before) == 5  # this month, the next three, and the default
    old = datetime.now(UTC) - timedelta(days=200)
    name = f"login_events_{old:%Y_%m}"
    start, end = old.replace(day=1).date(), (old.replace(day=28) + timedelta(days=4)).replace(day=1).date()
    await sql.execute(
        f"CREATE TABLE auth.{name} PARTITION OF auth.login_events FOR VALUES FROM ('{start}') TO ('{end}')"
    )
    insert = "INSERT INTO auth.login_events (id, at, result, address, agent) VALUES ($1, $2, 'failed', '', '')"
    for days in (200, 91, 89, 0):
        await sql.execute(insert, uuid4(), datetime.now(UTC) - timedelta(days=days))
    await sql.execute("SELECT auth.roll_login_events()")
    assert {row["relname"] for row in await sql.fetch(parts)} == before
    assert await sql.fetchval("SELECT count(*) FROM auth.login_events") == 2


async def test_month_whose_rows_fell_into_the_default_is_left_there(sql):
    name = f"login_events_{datetime.now(UTC):%Y_%m}"
    await sql.execute(f"DROP TABLE auth.{name}")
    insert = "INSERT INTO auth.login_events (id, at, result, address, agent) VALUES ($1, now(), 'failed', '', '')"
    await sql.execute(insert, uuid4())
    await sql.execute("SELECT auth.roll_login_events()")
    assert await sql.fetchval("SELECT to_regclass($1)", f"auth.{name}") is None
    assert await sql.fetchval("SELECT count(*) FROM auth.login_events") == 1
