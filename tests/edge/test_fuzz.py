"""Requests with a few bytes changed: whatever comes of them, every request an upstream sees is one the edge answered.

Here 300 of them, the same ones each time; `make fuzz` tries as many others as BATCHES of 30 says.
"""

import asyncio
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.edge.conftest import Edge, StartEdge, table
from tests.edge.corpus import CORPUS
from tests.edge.corpus.answers import parse, send
from tests.edge.corpus.recorder import recording

_BATCHES = int(os.environ.get("BATCHES", "10"))
_SECONDS = 30
_SEEDS = [case.raw for case in CORPUS if case.answers in ("200", "200 200") and len(case.raw) < 1000]
_PIECES = [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b"\t", b" ", b":", b",", b";", b"0", b"\x0b", b"\x80", b"\xff"]


def changed(raw: bytes, change: tuple[str, int, int, bytes]) -> bytes:
    kind, position, size, piece = change
    start = position % (len(raw) + 1)
    end = min(len(raw), start + size)
    if kind == "insert":
        return raw[:start] + piece + raw[start:]
    if kind == "replace":
        return raw[:start] + piece + raw[end:]
    if kind == "drop":
        return raw[:start] + raw[end:]
    if kind == "double":
        return raw[:end] + raw[start:]
    flipped = bytes(byte ^ 1 << size % 8 for byte in raw[start : start + 1])
    return raw[:start] + flipped + raw[start + 1 :]


@st.composite
def requests(draw: st.DrawFn) -> list[bytes]:
    """A request that was good once, in one piece or in two."""
    raw = draw(st.sampled_from(_SEEDS))
    kinds = st.sampled_from(["insert", "replace", "drop", "double", "flip"])
    changes = st.tuples(kinds, st.integers(0, 1000), st.integers(1, 40), st.sampled_from(_PIECES))
    for change in draw(st.lists(changes, min_size=1, max_size=4)):
        raw = changed(raw, change)
    cut = draw(st.integers(0, len(raw)))
    return [piece for piece in (raw[:cut], raw[cut:]) if piece]


async def relayed(edge: Edge, pieces: list[bytes]) -> int:
    """How many of the answers came from the upstream, once the edge has closed."""
    received, closed = await send(edge.port, pieces, seconds=_SECONDS)
    # What was HEAD cannot be told after the change: answers to it have no body, and those of the recorder one of 2.
    answers = parse(received.replace(b"\r\n\r\nok", b"\r\n\r\n").replace(b"Content-Length: 2\r\n", b""), [])
    assert closed or not pieces
    assert all(answer.status < 500 for answer in answers)
    assert [fault for answer in answers if answer.status >= 400 and (fault := answer.fault())] == []
    return sum(answer.is_relayed for answer in answers)


@settings(
    max_examples=_BATCHES,
    deadline=None,
    derandomize="BATCHES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(batch=st.lists(requests(), min_size=30, max_size=30))
async def test_no_change_of_bytes_makes_two_requests_of_one(start_edge: StartEdge, batch: list[list[bytes]]) -> None:
    async with recording() as recorder:
        upstream = f"http://127.0.0.1:{recorder.port}"
        limits = {"EDGE_HEADER_SECONDS": "0.5", "EDGE_KEEP_ALIVE_SECONDS": "0.5"}
        edge = await start_edge(table(upstream, timeout="{ idle = 0.5 }"), **limits)
        counts = await asyncio.gather(*(relayed(edge, pieces) for pieces in batch))
        assert recorder.faults == []
        assert len(recorder.seen) == sum(counts)
