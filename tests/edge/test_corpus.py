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


def test_the_corpus_is_large_and_names_its_cases() -> None:
    assert len(CORPUS) >= 150
    assert len({case.name for case in CORPUS}) == len(CORPUS)
