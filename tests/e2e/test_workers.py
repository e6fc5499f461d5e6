"""Several workers: connections stay within their bound, and one worker's violent end costs only what it had in hand."""

import http.client
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from ops import secrets
from ops.embedded import Postgres
from tests.e2e.conftest import Answer, Client, Stack, StartStack, wait_until
from tests.servers import servers, state_directory

pytestmark = pytest.mark.timeout(120)

POOL_MAX = 4
WAITING = """
    SELECT client_port FROM pg_stat_activity WHERE usename = 'gatehouse_core' AND wait_event_type = 'Lock'
"""
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'gatehouse_core'"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with state_directory() as var, Postgres(var, secrets.ensure(var), servers=servers(), durable=False) as postgres:
        yield postgres.url


@pytest.fixture(scope="module")
def stack(start_stack: StartStack, empty_directory: Path, server: str) -> Stack:
    return start_stack(
        empty_directory,
        MIGRATE_DATABASE_URL=server,
        DATABASE_URL=server,
        DATABASE_POOL_MAX=str(POOL_MAX),
        DATABASE_TIMEOUT="2",
        CORE_WORKERS="2",
        EDGE_WORKERS="2",
        LIMIT_GENERAL="10000/60",
    )


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Client:
    return stack.client.as_(f"ApiKey {stack.credentials['api_key']}")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as pool:
        yield pool


@pytest.fixture
def ask(server: str) -> Iterator[Callable[[str], list[int]]]:
    """A query's first column, from outside of the pools."""
    with psycopg.connect(server, autocommit=True) as connection:
        yield lambda query: [row[0] for row in connection.execute(query)]


@pytest.fixture
def locked(server: str) -> Iterator[Callable[[], None]]:
    """Nobody gets at an expense until what this yields is called."""
    with psycopg.connect(server) as connection:
        connection.execute("LOCK TABLE core.expenses IN ACCESS EXCLUSIVE MODE")
        yield connection.rollback


def workers(stack: Stack, service: str) -> list[psutil.Process]:
    return psutil.Process(stack.pid(service)).children()


def ports(worker: psutil.Process, *, remote: bool = False) -> set[int]:
    """Of the worker's TCP connections: its own ends, or those at the other side."""
    connections = [one for one in worker.net_connections("tcp") if one.raddr]
    return {one.raddr.port if remote else one.laddr.port for one in connections}


def test_connections_stay_within_their_bound_and_who_gets_none_is_told_busy(
    stack: Stack,
    admin: Client,
    threads: ThreadPoolExecutor,
    ask: Callable[[str], list[int]],
    locked: Callable[[], None],
) -> None:
    asked = [threads.submit(admin.get, "/api/v1/expenses") for _ in range(30)]
    # The rest waits its two seconds for a connection, in vain.
    wait_until(lambda: sum(one.done() for one in asked) >= 30 - POOL_MAX, 30, "those who got no connection")
    assert 0 < len(ask(WAITING)) <= POOL_MAX
    assert ask(CONNECTED)[0] <= POOL_MAX
    refused = [one.result() for one in asked if one.done()]
    assert {(answer.status, answer.body["message"]) for answer in refused} == {(503, "The database is busy")}
    assert all("retry-after" in answer.headers for answer in refused)
    assert stack.client.get("/health").status == 200
    locked()
    assert Counter(one.result().status for one in asked) == {503: len(refused), 200: 30 - len(refused)}
    assert {answer.status for answer in threads.map(lambda _: admin.get("/api/v1/expenses"), range(60))} == {200}
    assert ask(CONNECTED)[0] <= POOL_MAX


def test_killed_worker_of_a_service_loses_only_what_it_had_in_hand(
    stack: Stack,
    admin: Client,
    threads: ThreadPoolExecutor,
    ask: Callable[[str], list[int]],
    locked: Callable[[], None],
) -> None:
    category = admin.get("/api/v1/categories").data["items"][0]["id"]
    expense = {"amount": "1.00", "date": "2026-01-31", "category_id": category}
    in_flight: list[Future[Answer]] = []

    def held(worker: psutil.Process) -> set[int]:
        return set(ask(WAITING)) & ports(worker)

    def send_another() -> bool:
        if len(in_flight) < 30:
            in_flight.append(threads.submit(admin.post, "/api/v1/expenses", expense))
        return bool(held(survivor))

    in_flight.append(threads.submit(admin.post, "/api/v1/expenses", expense))
    wait_until(lambda: ask(WAITING), 10, "a request at the lock")
    victim, survivor = sorted(workers(stack, "core"), key=lambda worker: not held(worker))
    victim.suspend()  # or it might take every connection, and the other one would have nothing to lose
    wait_until(send_another, 10, "work in the other worker, too")
    safe = len(held(survivor))
    victim.kill()
    victim.wait(5)
    locked()
    outcome = Counter(one.result().status for one in in_flight)
    assert set(outcome) <= {201, 502, 503}
    assert outcome[201] >= safe > 0
    assert outcome[502] > 0, "what was in the worker's hands cannot be known to have failed or not"
    # Nobody else notices: not one failure, from the very next request on.
    assert {admin.get("/api/v1/expenses").status for _ in range(50)} == {200}
    wait_until(lambda: len(workers(stack, "core")) == 2, 20, "a worker in its place")


def test_killed_worker_of_the_edge_takes_only_its_own_connections_along(stack: Stack) -> None:
    at = urlsplit(stack.client.url).netloc
    before = workers(stack, "edge")
    clients: list[http.client.HTTPConnection] = []

    def answered(client: http.client.HTTPConnection) -> bool:
        client.request("GET", "/health")
        response = client.getresponse()
        response.read()
        return response.status == 200

    def own_port(client: http.client.HTTPConnection) -> int:
        assert client.sock
        return int(client.sock.getsockname()[1])

    def both_have_one() -> bool:
        clients.append(http.client.HTTPConnection(at, timeout=10))
        assert answered(clients[-1])
        return all(ports(worker, remote=True) & {own_port(client) for client in clients} for worker in before)

    try:
        wait_until(both_have_one, 10, "connections to both workers")
        victim, survivor = before
        theirs = ports(survivor, remote=True)
        staying = [client for client in clients if own_port(client) in theirs]
        victim.kill()
        victim.wait(5)
        assert staying
        assert all(answered(client) for client in staying)
        assert {stack.client.get("/health").status for _ in range(20)} == {200}
    finally:
        for client in clients:
            client.close()
    wait_until(lambda: len(workers(stack, "edge")) == 2, 20, "a worker in its place")
