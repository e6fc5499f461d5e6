"""The corpus through the edge: one request, one answer, and the upstream sees what the edge read or nothing."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.edge.conftest import Edge, StartEdge, table
from tests.edge.corpus import CORPUS, Case
from tests.edge.corpus.answers import Cut, at_head_ends, in_hundred, parse, send, whole
from tests.edge.corpus.recorder import Recorder, recording

_LANES = 12  # edges with an upstream each, so that what an upstream sees belongs to one case
_SECONDS = 10


async def _fault(edge: Edge, recorder: Recorder, case: Case, cut: Cut) -> str:
    """What the edge did other than the case says, or nothing."""
    recorder.forget()
    received, closed = await send(edge.port, cut(case.raw), seconds=_SECONDS)
    try:
        answers = parse(received, [request.split(b" ")[0] for request in case.seen])
    except ValueError as error:
        return str(error)
    said = " ".join(str(answer.status) for answer in answers)
    if said != case.answers or tuple(recorder.seen) != case.seen:
        return f"answered {said or 'nothing'!r} for {case.answers!r}; the upstream saw {recorder.seen}"
    if len(recorder.seen) != sum(answer.is_relayed for answer in answers):
        return "the upstream saw another number of requests than were answered for it"
    if recorder.faults or not closed:
        return f"the upstream could not read {recorder.faults}" if recorder.faults else "left open"
    return next(filter(None, (answer.fault() for answer in answers)), "")


@pytest.mark.parametrize("cut", [whole, at_head_ends, in_hundred])
async def test_every_case_is_read_in_one_way(start_edge: StartEdge, cut: Cut) -> None:
    waiting = list(reversed(CORPUS))
    faults: list[str] = []

    async def lane(edge: Edge, recorder: Recorder) -> None:
        while waiting:
            case = waiting.pop()
            if fault := await _fault(edge, recorder, case, cut):
                faults.append(f"{case.name} ({case.why}): {fault}")

    async with AsyncExitStack() as stack:
        lanes = []
        for _ in range(_LANES):
            recorder = await stack.enter_async_context(recording())
            lanes.append(lane(await start_edge(table(f"http://127.0.0.1:{recorder.port}")), recorder))
        await asyncio.gather(*lanes)
    assert faults == [], "\n".join(faults)


async def test_what_connection_names_ends_here_and_what_the_edge_says_does_not(start_edge: StartEdge) -> None:
    """RFC 9110 section 7.6.1: stripped first, ours added after."""
    names = b"Connection: close, A, Host, Via, X-Request-ID, X-Forwarded-For, X-Real-IP, Authorization\r\n"
    fields = b"A: b\r\nTE: trailers\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\nProxy-Connection: close\r\n"
    raw = b"GET / HTTP/1.1\r\nHost: x\r\nVia: 1.0 fred\r\n" + fields + names + b"\r\n"
    async with recording() as recorder:
        edge = await start_edge(table(f"http://127.0.0.1:{recorder.port}"))
        await send(edge.port, whole(raw), seconds=_SECONDS)
        seen = [line.split(b": ")[0].lower() for line in recorder.heads[0].split(b"\r\n")[1:-2]]
        for ours in (b"host", b"via", b"x-request-id", b"x-forwarded-for", b"x-real-ip"):
            assert seen.count(ours) == 1, ours
        for theirs in (b"a", b"te", b"keep-alive", b"upgrade", b"proxy-connection", b"connection"):
            assert theirs not in seen, theirs
        assert b"\r\nVia: 1.1 gatehouse\r\n" in recorder.heads[0]


async def test_request_that_went_round_in_circles_is_refused_after_eight(start_edge: StartEdge) -> None:
    via = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nVia: %b\r\n\r\n"
    async with recording() as recorder:
        edge = await start_edge(table(f"http://127.0.0.1:{recorder.port}"))
        assert (await edge.raw(via % b", ".join([b"1.1 gatehouse"] * 7))).startswith(b"HTTP/1.1 200 ")
        assert (await edge.raw(via % b", ".join([b"1.1 gatehouse"] * 8))).startswith(b"HTTP/1.1 400 ")


def test_the_corpus_is_large_and_names_its_cases() -> None:
    assert len(CORPUS) >= 150
    assert len({case.name for case in CORPUS}) == len(CORPUS)
