"""Every part fails in turn: the answer says so honestly, and things come back by themselves."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops import secrets
from ops.embedded import Postgres
from tests.e2e.conftest import Client, Stack, StartStack, wait_until
from tests.servers import servers, state_directory

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server outside the stack, which stays down until the test starts it again."""
    with state_directory() as var, Postgres(var, secrets.ensure(var), servers=servers(), durable=False) as server:
        yield server


@pytest.fixture(scope="module")
def stack(start_stack: StartStack, empty_directory: Path, postgres: Postgres) -> Stack:
    # These tests ask in a loop; a large limit over a short window lets them, and still can be reached.
    return start_stack(empty_directory, DATABASE_URL=postgres.url, LIMIT_GENERAL="500/4")


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Client:
    return stack.client.as_(f"ApiKey {stack.credentials['api_key']}")


def readiness_becomes(stack: Stack, status: str) -> dict[str, str]:
    """The checks once the edge says `status`."""
    wait_until(lambda: stack.client.get("/health/ready").body["status"] == status, 20, f"readiness {status}")
    return stack.client.get("/health/ready").body["checks"]


def test_stopped_postgresql_is_a_503_that_names_it_and_all_recovers(
    stack: Stack, admin: Client, postgres: Postgres
) -> None:
    assert admin.get("/api/v1/expenses").status == 200
    postgres.stop()
    try:
        assert readiness_becomes(stack, "unavailable")["database"] == "unhealthy"
        for path in ("/api/v1/expenses", "/api/v1/me"):
            answer = admin.get(path)
            assert (answer.status, answer.body["error"]) == (503, "ServiceUnavailable"), answer
            assert "retry-after" in answer.headers
        assert "database" in admin.get("/api/v1/expenses").body["message"].lower()
        database = stack.client.get("/health/db")
        assert (database.status, database.body["database"]) == (503, "disconnected")
        assert stack.client.get("/health").status == 200
    finally:
        postgres.start()
    wait_until(lambda: admin.get("/api/v1/expenses").status == 200, 20, "expenses again")
    wait_until(lambda: admin.get("/api/v1/me").status == 200, 20, "the account again")
    readiness_becomes(stack, "ready")


def test_stalled_valkey_still_serves_and_limits_and_says_degraded(stack: Stack, admin: Client) -> None:
    valkey = stack.pid("Valkey")
    os.kill(valkey, signal.SIGSTOP)
    try:
        assert readiness_becomes(stack, "degraded")["redis"] == "unhealthy"
        assert stack.client.get("/health/ready").status == 200
        statuses = [admin.get("/api/v1/categories").status for _ in range(510)]
        assert set(statuses) == {200, 429}
        assert statuses[0] == 200
    finally:
        os.kill(valkey, signal.SIGCONT)
    readiness_becomes(stack, "ready")


def test_killed_valkey_is_replaced_and_nobody_notices(stack: Stack, admin: Client) -> None:
    before = stack.pid("Valkey")
    wait_until(lambda: admin.get("/api/v1/categories").status == 200, 10, "the limit to let us in")
    os.kill(before, signal.SIGKILL)
    for _ in range(50):
        assert admin.get("/api/v1/categories").status == 200
    wait_until(lambda: stack.pid("Valkey") not in (before, None), 20, "another Valkey")
    readiness_becomes(stack, "ready")


@pytest.mark.parametrize(("name", "path"), [("core", "/api/v1/categories"), ("auth", "/api/v1/me")])
def test_killed_service_is_an_envelope_until_it_is_back(stack: Stack, admin: Client, name: str, path: str) -> None:
    wait_until(lambda: admin.get(path).status == 200, 10, "the limit to let us in")
    os.kill(stack.pid(name), signal.SIGKILL)
    refused = wait_until(lambda: (answer := admin.get(path)).status != 200 and answer, 5, "a failure")
    assert (refused.status, refused.body["error"]) in ((502, "BadGateway"), (503, "ServiceUnavailable"))
    assert refused.body["requestId"] == refused.headers["x-request-id"]
    wait_until(lambda: admin.get(path).status == 200, 20, f"{name} again")
    readiness_becomes(stack, "ready")


def test_killed_edge_is_replaced(stack: Stack, admin: Client) -> None:
    before = stack.pid("edge")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: stack.pid("edge") not in (before, None), 20, "another edge")
    wait_until(lambda: admin.get("/api/v1/categories").status == 200, 20, "the edge again")


def test_killed_worker_is_replaced_by_its_supervisor(stack: Stack, admin: Client) -> None:

    (worker,) = psutil.Process(stack.pid("core")).children()
    worker.kill()
    wait_until(lambda: admin.get("/api/v1/categories").status == 200, 20, "core again")
    assert psutil.Process(stack.pid("core")).children()[0].pid != worker.pid
