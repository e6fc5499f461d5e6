"""The usage log: one record for every call with a proven caller, appended to a stream in batches.

A call never waits for it and never fails for it. While the store is away records wait here, RECORDS_MAX of them; what
does not fit is counted as dropped. A batch whose answer was lost is not sent again: a call is never counted twice.
Of a cluster it needs only the node that keeps the stream.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence

import structlog
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from redis.asyncio import Redis

from common import usage
from common.limits.cluster import slot_of
from common.limits.store import ELSEWHERE, find_slots
from common.limits.wire import Wire, WireError, open_wire, pack
from edge.exchange import Exchange

log = structlog.get_logger()
FLUSH_SECONDS = 0.25
RECORDS_MAX = 100_000
_TIMEOUT_SECONDS = 2.0
_CONNECT_SECONDS = 1.0
_BATCH_MAX = 500  # records in one round trip: more would hold up the loop, and the store
_SLOT = slot_of(usage.STREAM)
_MOVES_MAX = 2  # in one flush: nodes that disagree are asked again with the next
_COMMAND = ("XADD", usage.STREAM, "MAXLEN", "~", usage.ENTRIES_MAX, "*")


class UsageLog(Collector):
    """Collects records and, once `follow` runs, appends them. Its counts are its metrics."""

    def __init__(self, client: Redis, *, flush_seconds: float = FLUSH_SECONDS, records_max: int = RECORDS_MAX) -> None:
        self.appended = 0
        self.dropped = 0
        self._client = client
        self._flush_seconds = flush_seconds
        self._records_max = records_max
        self._records: list[bytes] = []
        self._wire: Wire | None = None
        self._is_failing = False

    def add(self, exchange: Exchange, label: str, seconds: float) -> None:
        """Notes an answered call; one without a proven caller is nobody's usage."""
        caller = exchange.caller
        if caller is None:
            return
        if len(self._records) >= self._records_max:
            self.dropped += 1
            return
        what = f"{exchange.method} {label}"
        self._records.append(usage.encode(caller.usage, int(time.time() * 1000), exchange.status, seconds, what))

    async def follow(self) -> None:
        """Appends what has gathered, for ever."""
        while True:
            await asyncio.sleep(self._flush_seconds)
            await self.flush()

    async def flush(self) -> None:
        """Appends all that has gathered. What cannot be sent stays for the next time."""
        moves = 0
        while self._records and moves < _MOVES_MAX and (wire := await self._connected()) is not None:
            batch, self._records = self._records[:_BATCH_MAX], self._records[_BATCH_MAX:]
            if kept_elsewhere := await self._append(wire, batch):
                self._records = kept_elsewhere + self._records
                wire.close("the stream is kept elsewhere")
                moves += 1

    async def close(self) -> None:
        """Appends the last records; those that cannot be sent now are dropped."""
        await self.flush()
        self.dropped += len(self._records)
        self._records.clear()
        if self._wire is not None:
            self._wire.close("closed")

    def collect(self) -> Iterator[Metric]:
        records = CounterMetricFamily("usage_records", "Calls noted for usage.", labels=("outcome",))
        records.add_metric(("appended",), self.appended)
        records.add_metric(("dropped",), self.dropped)
        yield records

    async def _connected(self) -> Wire | None:
        if self._wire is None or not self._wire.is_open:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    self._wire = await self._open()
            except (OSError, WireError) as error:  # TimeoutError is an OSError
                self._wire = None
                self._note(failing=True, reason=str(error) or type(error).__name__)
        return self._wire

    async def _open(self) -> Wire:
        """To the node that keeps the stream, or to the one store there is. Raises OSError, WireError."""
        slots = await find_slots(self._client, _TIMEOUT_SECONDS, _CONNECT_SECONDS)
        owner = next((address for first, last, address in slots if first <= _SLOT <= last), None)
        return await open_wire(self._client, _TIMEOUT_SECONDS, owner)

    async def _append(self, wire: Wire, records: Sequence[bytes]) -> list[bytes]:
        """The records that this node says another keeps."""
        chunks = [
            records[start : start + usage.RECORDS_PER_ENTRY]
            for start in range(0, len(records), usage.RECORDS_PER_ENTRY)
        ]
        packed = b"".join(_command(chunk) for chunk in chunks)
        try:
            replies = await wire.exchange(packed, len(chunks))
        except WireError as error:
            replies = [error] * len(chunks)
        return self._count(chunks, replies)

    def _count(self, chunks: Sequence[Sequence[bytes]], replies: Sequence[object]) -> list[bytes]:
        refused = ""
        kept_elsewhere: list[bytes] = []
        for chunk, reply in zip(chunks, replies, strict=True):
            if not isinstance(reply, Exception):
                self.appended += len(chunk)
                continue
            refused = str(reply)
            if refused.startswith(ELSEWHERE):
                kept_elsewhere += chunk
            else:
                self.dropped += len(chunk)
        self._note(failing=bool(refused), reason=refused)
        return kept_elsewhere

    def _note(self, *, failing: bool, reason: str) -> None:
        if failing and not self._is_failing:
            log.warning("usage_log_down", reason=reason)
        elif self._is_failing and not failing:
            log.info("usage_log_back", dropped=self.dropped)
        self._is_failing = failing


def _command(records: Sequence[bytes]) -> bytes:
    return pack(*_COMMAND, *itertools.chain.from_iterable((usage.FIELD, record) for record in records))
