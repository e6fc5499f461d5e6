"""Behind PgBouncer in transaction mode, as managed PostgreSQL offers it: the whole stack, and migrations beside it."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from ops import secrets
from ops.embedded import Postgres
from ops.migrate import migrate
from ops.migrate.database import MigrationFailed
from tests.conftest import made_database, on_database
from tests.e2e.conftest import Client, Stack, StartStack, wait_until
from tests.pgbouncer import pgbouncer, through
from tests.servers import servers, state_directory

pytestmark = pytest.mark.timeout(120)

PASSWORDS = {"AUTH_DB_PASSWORD": "of-the-auth-role", "CORE_DB_PASSWORD": "of-the-core-role"}
ROLES = {"gatehouse_auth": PASSWORDS["AUTH_DB_PASSWORD"], "gatehouse_core": PASSWORDS["CORE_DB_PASSWORD"]}
POOL_SIZE = 3


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The superuser's URL of a PostgreSQL of this module's own."""
    with state_directory() as var, Postgres(var, secrets.ensure(var), servers=servers(), durable=False) as postgres:
        yield postgres.url


@pytest.fixture(scope="module")
def pooler(server: str) -> Iterator[str]:
    with pgbouncer(server, ROLES, size=POOL_SIZE) as address:
        yield address


def journey(stack: Stack) -> None:
    """An account from its first to its last request."""
    account = {"email": "alice@example.com", "password": "a long enough passphrase"}
    assert stack.client.post("/api/v1/auth/register", account).status == 201
    tokens = stack.client.post("/api/v1/auth/login", account).data
    tokens = stack.client.post("/api/v1/auth/refresh", {"refreshToken": tokens["refreshToken"]}).data
    alice = stack.client.as_(f"Bearer {tokens['accessToken']}")
    category = alice.get("/api/v1/categories").data["items"][0]["id"]
    expense = {"amount": "25.50", "date": "2026-01-31", "category_id": category, "tags": ["a", "b"]}
    made = alice.post("/api/v1/expenses", expense)
    assert made.status == 201
    path = f"/api/v1/expenses/{made.data['id']}"
    assert alice.call("PUT", path, {**expense, "amount": "30.00"}).data["amount"] == "30.00"
    assert alice.get("/api/v1/expenses?tags=a&min_amount=30").data["total"] == 1
    assert alice.post("/api/v1/categories", {"name": "Food"}).status == 409
    key = alice.post("/api/v1/api-keys", {"name": "laptop"}).data["key"]
    assert stack.client.as_(f"ApiKey {key}").get(path).status == 200
    many_at_once(alice, category)
    assert alice.call("DELETE", "/api/v1/me").status == 204
    wait_until(lambda: alice.get("/api/v1/me").status == 401, 5, "the end of the session")


def many_at_once(client: Client, category: str) -> None:
    """More requests at once than the pooler has server connections; reads, writes and transactions mixed."""

    def one(number: int) -> int:
        if number % 3 == 0:
            return client.post("/api/v1/categories", {"name": f"Category {number}"}).status
        if number % 3 == 1:
            body = {"amount": "1", "date": "2026-01-31", "category_id": category}
            return client.post("/api/v1/expenses", body).status
        return client.get(f"/api/v1/expenses?page={number % 5 + 1}").status

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(one, range(240))) == {200, 201}


def connected(server: str) -> dict[str, int]:
    """Server connections by user."""
    with psycopg.connect(server) as connection:
        rows = connection.execute("SELECT usename, count(*) FROM pg_stat_activity WHERE usename IS NOT NULL GROUP BY 1")
        return dict(rows.fetchall())


def test_whole_stack_runs_through_a_transaction_pooler_with_one_role(
    start_stack: StartStack, server: str, pooler: str
) -> None:
    with made_database(server, template=None) as name, state_directory() as var:
        var.parent.joinpath("var").mkdir()
        direct = on_database(server, name)
        stack = start_stack(
            var.parent,
            DATABASE_URL=through(pooler, direct),
            MIGRATE_DATABASE_URL=direct,
            DATABASE_POOLER="transaction",
            LIMIT_GENERAL="10000/60",
        )
        try:
            journey(stack)
            held = connected(server)
            assert set(held) == {"postgres"}, "one role is enough"
        finally:
            stack.gatehouse("down")
            stack.process.wait(20)


def test_each_service_has_a_role_of_its_own_behind_the_pooler(
    start_stack: StartStack, server: str, pooler: str, empty_directory: Path
) -> None:
    stack = start_stack(
        empty_directory,
        DATABASE_URL=through(pooler, server, user="app", password="unused"),
        MIGRATE_DATABASE_URL=server,
        DATABASE_POOLER="transaction",
        LIMIT_GENERAL="10000/60",
        **PASSWORDS,
    )
    journey(stack)
    held = connected(server)
    assert {"gatehouse_auth", "gatehouse_core"} <= set(held)
    assert max(held[role] for role in ROLES) <= POOL_SIZE


def test_migrating_through_a_transaction_pooler_is_refused_and_leaves_nothing_behind(
    server: str, pooler: str, tmp_path: Path
) -> None:
    with made_database(server, template=None) as name:
        direct = on_database(server, name)
        with pytest.raises(MigrationFailed) as refused:
            migrate(through(pooler, direct))
        assert re.fullmatch(
            r"the database at 127\.0\.0\.1:\d+ is behind a transaction pooler, and migrations need a direct connection"
            r": set MIGRATE_DATABASE_URL to one, and DATABASE_POOLER=transaction for the services",
            str(refused.value),
        )
        assert migrate(direct, lock_seconds=1), "no lock was left with the pooler"
        with psycopg.connect(through(pooler, direct), prepare_threshold=None) as pooled:
            assert pooled.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_migrating_through_a_session_pooler_works(server: str) -> None:
    with pgbouncer(server, {}, mode="session") as address, made_database(server, template=None) as name:
        assert migrate(through(address, on_database(server, name)))
