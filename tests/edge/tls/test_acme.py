"""Certificates ordered from a real ACME authority, and what happens when it will not give one."""

import asyncio
import dataclasses
import json
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import web
from redis.asyncio import Redis

from common.background import stop
from common.valkey import connect
from edge.tls.challenges import Challenges
from edge.tls.lock import held
from edge.tls.records import BACKOFF_SECONDS, Record, read_kept
from edge.tls.renewal import Renewal
from edge.tls.served import Served
from edge.tls.settings import PRODUCTION, STAGING, Authority
from edge.tls.sharing import Sharing
from edge.tls.store import Folders, write_private
from edge.tls.watch import Watch
from tests.edge.conftest import KEYS, Edge, Runtime, StartEdge, StartUpstream, table
from tests.edge.tls.conftest import Certificates, leaf, names
from tests.edge.tls.pebble import Pebble, running
from tests.ops.stacks import Stack

WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with running(tmp_path_factory.mktemp("pebble")) as started:
        yield started


@pytest.fixture
async def redis(clean_redis_url: str) -> AsyncIterator[Redis]:
    client = connect(clean_redis_url)
    yield client
    await client.aclose()


def acme(pebble: Pebble, redis_url: str, **more: str) -> dict[str, str]:
    asked = {"ACME": "true", "ACME_DIRECTORY": pebble.directory, "ACME_CA": str(pebble.bundle)}
    return {**asked, "LETSENCRYPT_EMAIL": "ops@example.com", "REDIS_URL": redis_url, **more}


async def hello(_request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


async def shown(edge: Edge, name: str) -> Any:
    """The certificate for `name`, as soon as there is one."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await leaf(edge.tls_port, name)
            except ConnectionResetError:
                await asyncio.sleep(0.1)


# The edge, whole


async def test_each_domain_gets_a_certificate_by_itself_and_one_that_ends_soon_is_renewed_without_a_restart(
    start_edge: StartEdge,
    start_upstream: StartUpstream,
    pebble: Pebble,
    clean_redis_url: str,
    certificates: Certificates,
) -> None:
    environ = acme(pebble, clean_redis_url, DOMAINS="one.test,two.test,*.three.test")
    own = certificates.folder / "acme" / Authority(pebble.directory, "").slug
    write_private(own / "one.test.pem", certificates.authority.issue("one.test", days=29).read_bytes())
    edge = await start_edge(table(await start_upstream(hello)), port=pebble.http_port, **environ)
    trusting = ssl.create_default_context(cadata=pebble.root())
    # Old and valid, so it is served until the new one is there.
    assert (await shown(edge, "one.test")).issuer.rfc4514_string() == "CN=Test CA"
    certificate = await shown(edge, "two.test")
    assert names(certificate) == ["two.test"]
    await leaf(edge.tls_port, "two.test", trusting)
    await leaf(edge.tls_port, "one.test", trusting)  # in the order of DOMAINS, so this one came first
    assert [path.name for path in sorted(own.glob("*.pem"))] == ["one.test.pem", "two.test.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in own.iterdir()} == {0o600}
    async with edge.client.get("/x", headers={"Host": "two.test"}, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, "https://two.test:8443/x")


async def test_two_nodes_make_one_order_and_each_serves_its_certificate(
    start_edge: StartEdge, start_upstream: StartUpstream, pebble: Pebble, clean_redis_url: str, tmp_path: Path
) -> None:
    upstream, before = await start_upstream(hello), pebble.orders()
    environ = acme(pebble, clean_redis_url, DOMAINS="shared.test")
    # The authority reaches the second node only, whichever orders.
    edges = [
        await start_edge(table(upstream), port=port, GATEHOUSE_VAR=str(tmp_path / node), **environ)
        for node, port in (("a", 0), ("b", pebble.http_port))
    ]
    renewals = [made(pebble, clean_redis_url, tmp_path / node) for node in ("a", "b")]
    ready = asyncio.create_task(shown(edges[0], "shared.test")), asyncio.create_task(shown(edges[1], "shared.test"))
    done, waiting = await asyncio.wait(ready, return_when=asyncio.FIRST_COMPLETED)
    # What the other does within a minute: it looks again.
    for renewal in renewals:
        assert await renewal.attend("shared.test") in ("fresh", "taken")
        await renewal.close()
    serials = {task.result().serial_number for task in (await asyncio.wait(done | waiting))[0]}
    assert len(serials) == 1
    assert pebble.orders() == before + 1


async def test_challenges_are_answered_first_for_any_host_and_only_those_that_are_open(
    start_edge: StartEdge,
    start_upstream: StartUpstream,
    clean_redis_url: str,
    redis: Redis,
    certificates: Certificates,
) -> None:
    certificates.put("one.test")
    asked = {"ACME": "true", "ACME_DIRECTORY": "https://127.0.0.1:9/dir", "LETSENCRYPT_EMAIL": "ops@example.com"}
    environ = {**asked, "REDIS_URL": clean_redis_url, "DOMAINS": "one.test", "LIMIT_GENERAL": "1/60"}
    # No worker orders but the first.
    edge = await start_edge(table(await start_upstream(hello), limits='["general"]'), Runtime(index=1), **environ)
    await Challenges(redis).put("a" * 43, "a.thumbprint")
    for method, status, body in (("GET", 200, "a.thumbprint"), ("HEAD", 200, ""), ("POST", 405, None)):
        for host in ("one.test", "stranger.test", "127.0.0.1"):
            path = f"/.well-known/acme-challenge/{'a' * 43}"
            async with edge.client.request(method, path, headers={"Host": host}, allow_redirects=False) as response:
                assert response.status == status
                assert body in (None, await response.text())
    for unknown in ("b" * 43, "short", "..%2f..%2fx", "a" * 200):
        async with edge.client.get(f"/.well-known/acme-challenge/{unknown}") as response:
            assert response.status == 404
            assert (await response.json())["error"] == "NotFound"


# The renewal alone, under a clock of ours


class Made(Renewal):
    """A node's renewal over its own folder, with what it would serve."""

    def __init__(self, redis: Redis, folders: Folders, authority: Authority, clock: Callable[[], float]) -> None:
        self.served = Served()
        self.watch = Watch(folders, self.served)
        self.folders = folders
        self.redis = redis
        super().__init__(
            redis,
            folders=folders,
            authority=authority,
            service_key=KEYS["AUTH_SERVICE_KEY"],
            find=self.find,
            clock=clock,
        )

    def find(self, name: str) -> Any:
        self.watch.look()
        return self.served.find(name)

    async def close(self) -> None:
        await self.redis.aclose()


def now() -> float:
    return datetime.now(UTC).timestamp()


def made(pebble: Pebble, redis_url: str, var: Path, clock: Callable[[], float] = now, directory: str = "") -> Made:
    authority = Authority(directory or pebble.directory, "ops@example.com", str(pebble.bundle))
    folders = Folders(var / "certs", var / "certs" / "acme", authority.slug)
    return Made(connect(redis_url), folders, authority, clock)


StartRenewal = Callable[..., Made]


@pytest.fixture
async def start_renewal(pebble: Pebble, clean_redis_url: str, tmp_path: Path) -> AsyncIterator[StartRenewal]:
    started: list[Made] = []

    def start(node: str = "a", **more: Any) -> Made:
        started.append(made(pebble, clean_redis_url, tmp_path / node, **more))
        return started[-1]

    yield start
    for renewal in started:
        await renewal.close()


async def test_a_failure_is_tried_again_later_and_later_also_after_a_restart_and_on_another_node(
    start_renewal: StartRenewal, pebble: Pebble, redis: Redis
) -> None:
    """Nobody answers at the authority's port."""
    time, before = now(), pebble.orders()
    first = start_renewal(clock=lambda: time)
    assert await first.attend("failing.test") == "failed"
    kept = read_kept(first.folders.own, "failing.test")
    assert (kept.failures, kept.next_at(time)) == (1, time + BACKOFF_SECONDS)
    assert "could not see our answer" in kept.error
    restarted, other = start_renewal(clock=lambda: time + 60), start_renewal("b", clock=lambda: time + 60)
    assert await restarted.attend("failing.test") == await other.attend("failing.test") == "waiting"
    assert pebble.orders() == before + 1
    await redis.flushdb()  # and when Valkey has forgotten
    assert await restarted.attend("failing.test") == "waiting"
    time += BACKOFF_SECONDS
    assert await first.attend("failing.test") == "failed"
    assert read_kept(first.folders.own, "failing.test").next_at(time) == time + 2 * BACKOFF_SECONDS


async def test_an_authority_that_is_away_is_a_failure_with_its_reason(start_renewal: StartRenewal) -> None:
    renewal = start_renewal(directory="https://127.0.0.1:9/dir")
    assert await renewal.attend("one.test") == "failed"
    error = read_kept(renewal.folders.own, "one.test").error
    assert error == "https://127.0.0.1:9/dir cannot be reached (ConnectionError)"


async def test_an_order_that_is_given_up_leaves_no_process_no_lock_and_no_failure(
    start_renewal: StartRenewal, redis: Redis
) -> None:
    """As a reload does with one that is under way."""
    asked, over = asyncio.Event(), asyncio.Event()

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await over.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        renewal = start_renewal(directory=f"https://127.0.0.1:{silent.sockets[0].getsockname()[1]}/dir")
        ordering = asyncio.create_task(renewal.attend("one.test"))
        async with asyncio.timeout(WAIT_SECONDS):
            await asked.wait()
        (child,) = [one for one in psutil.Process().children() if "edge.tls.order" in one.cmdline()]
        await stop(ordering)
        assert not child.is_running()
        over.set()
    assert await redis.keys("*lock*") == []
    assert read_kept(renewal.folders.own, "one.test") == Record()


def test_waiting_grows_to_a_day_and_the_budget_stays_below_the_authoritys() -> None:
    record, waits = Record(), []
    for _ in range(10):
        record = record.failed(1000.0, "no")
        waits.append(record.next_at(1000.0) - 1000.0)
    assert waits[:4] == [900, 1800, 3600, 7200]
    assert waits[-1] == 86_400
    spent = Record()
    for day in (0, 1, 2):
        assert spent.next_at(day * 86_400.0) <= day * 86_400.0
        spent = spent.succeeded(day * 86_400.0)
    assert spent.next_at(3 * 86_400.0) == 7 * 86_400.0
    assert spent.succeeded(8 * 86_400.0).issued == (2 * 86_400.0, 8 * 86_400.0)


async def test_a_spent_budget_orders_nothing_even_when_a_person_insists(
    start_renewal: StartRenewal, pebble: Pebble
) -> None:
    renewal, before = start_renewal(), pebble.orders()
    spent = Record(issued=(now(),) * 3, updated_at=now())
    write_private(renewal.folders.own / "one.test.json", json.dumps(dataclasses.asdict(spent)).encode())
    assert await renewal.renew("one.test", insists=True) == "waiting"
    assert pebble.orders() == before


@pytest.mark.parametrize(
    ("days", "since_days", "due"), [(31, 59, False), (29, 61, True), (16, 29, False), (14, 31, True)]
)
async def test_renewal_begins_thirty_days_before_the_end_or_in_the_last_third_of_a_shorter_life(
    start_renewal: StartRenewal, certificates: Certificates, days: int, since_days: int, due: bool
) -> None:
    renewal = start_renewal()
    issued = certificates.authority.issue("one.test", days=days, since_days=since_days)
    write_private(renewal.folders.own / "one.test.pem", issued.read_bytes())
    assert renewal.is_due("one.test") is due


async def test_a_certificate_of_yours_and_one_of_another_authority(
    start_renewal: StartRenewal, certificates: Certificates
) -> None:
    renewal = start_renewal()
    text = certificates.authority.issue("one.test", days=80).read_bytes()
    write_private(renewal.folders.acme / "staging" / "one.test.pem", text)
    assert renewal.is_due("one.test")  # it is served meanwhile, and replaced
    assert renewal.find("one.test") is not None
    chain, key = certificates.put("one.test", days=10)
    renewal.folders.given.mkdir(exist_ok=True)
    chain.rename(renewal.folders.given / "one.crt")
    key.rename(renewal.folders.given / "one.key")
    assert not renewal.is_due("one.test")


async def test_the_lock_is_had_by_one_and_who_slept_over_it_writes_nothing(redis: Redis) -> None:
    async with held(redis, "one.test", term_seconds=0.05) as sleeper:
        assert sleeper is not None
        await asyncio.to_thread(lambda: None)
        async with asyncio.timeout(10):
            while await redis.exists("{gatehouse:acme}:lock:one.test"):
                await asyncio.sleep(0.01)
        async with held(redis, "one.test") as holder, held(redis, "one.test") as third:
            assert holder is not None
            assert third is None
            assert await holder.write("key", b"new", 60)
            assert not await sleeper.write("key", b"old", 60)
            assert await redis.get("key") == b"new"
            await sleeper.release()
            assert await redis.exists("{gatehouse:acme}:lock:one.test")


async def test_what_is_shared_opens_for_edges_of_the_same_service_key_and_that_name_alone(redis: Redis) -> None:
    ours, theirs = Sharing(redis, "a" * 40, "authority"), Sharing(redis, "b" * 40, "authority")
    async with held(redis, "one.test") as hold:
        assert hold is not None
        assert await ours.give(hold, "one.test", b"PRIVATE KEY", 60)
    stored = await redis.get("{gatehouse:acme}:authority:certificate:one.test")
    assert isinstance(stored, bytes)
    assert b"PRIVATE" not in stored
    assert await theirs.take("one.test") is None
    await redis.set("{gatehouse:acme}:authority:certificate:two.test", stored)
    assert await ours.take("two.test") is None
    assert await ours.take("one.test") == b"PRIVATE KEY"
    assert await ours.take("one.test") is None  # once


async def test_a_shared_certificate_that_ends_sooner_or_is_broken_changes_nothing(
    start_renewal: StartRenewal, certificates: Certificates, redis: Redis
) -> None:
    renewal = start_renewal()
    ours = renewal.folders.own / "one.test.pem"
    write_private(ours, certificates.authority.issue("one.test", days=80).read_bytes())
    kept = ours.read_bytes()
    for text in (
        certificates.authority.issue("one.test", days=70).read_bytes(),
        certificates.authority.issue("two.test", days=90).read_bytes(),
        b"half a certifi",
    ):
        async with held(redis, "one.test") as hold:
            assert hold is not None
            await Sharing(redis, KEYS["AUTH_SERVICE_KEY"], renewal.folders.authority).give(hold, "one.test", text, 60)
        assert await renewal.attend("one.test") == "fresh"
        assert ours.read_bytes() == kept


async def test_a_rehearsal_orders_and_keeps_nothing(
    start_edge: StartEdge, start_upstream: StartUpstream, pebble: Pebble, clean_redis_url: str, tmp_path: Path
) -> None:
    environ = acme(pebble, clean_redis_url, DOMAINS="dry.test")
    await start_edge(table(await start_upstream(hello)), Runtime(index=1), port=pebble.http_port, **environ)
    before, stack = pebble.orders(), Stack(tmp_path, **environ, **KEYS)
    done = await asyncio.to_thread(stack.gatehouse, "certs", "renew", "--dry-run", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = {"host": "dry.test", "done": True, "outcome": "rehearsed", "said": "an order would succeed"}
    assert json.loads(done.stdout) == [said]
    assert pebble.orders() == before + 1
    own = tmp_path / "certs" / "acme" / Authority(pebble.directory, "").slug
    assert [path.name for path in own.iterdir()] == ["account.key"]


def test_lets_encrypts_rehearsal_goes_to_its_staging_authority() -> None:
    assert Authority(PRODUCTION, "").staging().directory == STAGING
    assert Authority("https://ca.example.com/dir", "").staging().directory == "https://ca.example.com/dir"
