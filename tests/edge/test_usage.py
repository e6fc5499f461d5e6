"""The usage log: exactly one record a call, and no call that notices."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from common import usage
from common.identity import Identity
from common.limits.cluster import slot_of
from common.valkey import connect
from edge.identity.caller import Caller
from edge.usage import UsageLog
from tests.cluster_nodes import THIRDS, Nodes
from tests.common.limits.conftest import Server

CALLER = Caller.of(Identity(user=uuid4(), org=uuid4(), role="user"))


def call(caller: Caller | None = CALLER, status: int = 200) -> Any:
    return SimpleNamespace(caller=caller, method="GET", status=status)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def usage_log(url: str, **options: Any) -> AsyncIterator[UsageLog]:
    client = connect(url)
    log = UsageLog(client, **options)
    try:
        yield log
    finally:
        await log.close()
        await client.aclose()


async def raw(url: str) -> list[bytes]:
    """All records of all entries in order: redis-py makes a dict of an entry, in which equal fields are one."""
    client = connect(url)
    client.set_response_callback("XRANGE", lambda entries, **_: entries)
    entries = await client.execute_command("XRANGE", usage.STREAM, "-", "+", NEVER_DECODE=True)
    await client.aclose()
    assert all(len(fields) <= 2 * usage.RECORDS_PER_ENTRY for _, fields in entries)
    return [record for _, fields in entries for record in fields[1::2]]


async def test_every_call_of_a_proven_caller_becomes_one_record(server: Server) -> None:
    async with usage_log(server.url) as log:
        for number in range(2345):
            log.add(call(status=200 + number % 300), "/x/{id}", 0.25)
        log.add(call(caller=None), "/x/{id}", 0.25)
        await log.flush()
        found = [usage.decode(record) for record in await raw(server.url)]
        assert [record.status for record in found] == [200 + number % 300 for number in range(2345)]
        assert {(record.user, record.org) for record in found} == {(CALLER.identity.user, CALLER.identity.org)}
        assert {(record.method, record.route, record.microseconds) for record in found} == {("GET", "/x/{id}", 250_000)}
        assert (log.appended, log.dropped) == (2345, 0)


async def test_records_wait_for_a_store_that_is_away_and_what_does_not_fit_is_counted(server: Server) -> None:
    server.stop()
    async with usage_log(server.url, records_max=10) as log:
        for _ in range(12):
            log.add(call(), "/x", 0.1)
        await log.flush()
        assert (log.appended, log.dropped) == (0, 2)
        server.start()
        await log.flush()
        assert (log.appended, log.dropped) == (10, 2)
        assert len(await raw(server.url)) == 10


async def test_a_store_that_takes_no_more_drops_records_and_says_so(server: Server) -> None:
    client = connect(server.url)
    await client.config_set("maxmemory", "1")
    async with usage_log(server.url) as log:
        log.add(call(), "/x", 0.1)
        await log.flush()
        assert (log.appended, log.dropped) == (0, 1)
        await client.config_set("maxmemory", "0")
        log.add(call(), "/x", 0.1)
        await log.flush()
        assert (log.appended, log.dropped) == (1, 1)
    await client.aclose()


async def test_the_last_records_leave_when_the_edge_does(server: Server) -> None:
    async with usage_log(server.url) as log:
        log.add(call(), "/x", 0.1)
    assert len(await raw(server.url)) == 1


async def test_records_are_in_the_stream_within_a_second(server: Server) -> None:
    async with usage_log(server.url) as log:
        following = asyncio.create_task(log.follow())
        log.add(call(), "/x", 0.1)
        async with asyncio.timeout(1):
            while not await raw(server.url):
                await asyncio.sleep(0.02)
        following.cancel()


async def test_any_node_of_a_cluster_leads_to_the_one_that_keeps_the_stream_also_after_it_moved(tmp_path: Path) -> None:
    slot, nodes = slot_of(usage.STREAM), Nodes(tmp_path)
    owner = next(node for node, (first, last) in enumerate(THIRDS) if first <= slot <= last)
    asked, target = (owner + 1) % 3, (owner + 2) % 3
    try:
        nodes.start()
        async with usage_log(nodes.servers[asked].url) as log:
            log.add(call(), "/x", 0.1)
            await log.flush()
            assert nodes.ask(owner, "XLEN", usage.STREAM) == 1
            move(nodes, slot, owner, target)
            for _ in range(150):
                log.add(call(), "/x", 0.1)
            await log.flush()
            assert (log.appended, log.dropped) == (151, 0)
            assert nodes.ask(target, "XLEN", usage.STREAM) == 1 + -(-150 // usage.RECORDS_PER_ENTRY)
    finally:
        nodes.stop()


def move(nodes: Nodes, slot: int, source: int, target: int) -> None:
    """The slot with the stream in it; every node knows when this returns."""
    ids = {node: nodes.ask(node, "CLUSTER", "MYID") for node in (source, target)}
    nodes.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    nodes.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    assert nodes.ask(source, "MIGRATE", "127.0.0.1", nodes.servers[target].port, usage.STREAM, 0, 5000) == "OK"
    for node in (target, source, 3 - source - target):
        nodes.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])
