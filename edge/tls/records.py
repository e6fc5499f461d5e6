"""How often a name was ordered, and how that went: the back-off after failures, and a budget of our own.

Kept on disk, so that a restart does not begin anew, and in Valkey, so that another node does not either.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from redis.asyncio import Redis

from common import json
from edge.tls.lock import PREFIX, Hold
from edge.tls.store import write_private

_WEEK_SECONDS = 7 * 86_400
# Let's Encrypt gives 5 equal certificates a week, and 5 failed validations of a name an hour.
ISSUED_MAX = 3
BACKOFF_SECONDS = 15 * 60
BACKOFF_SECONDS_MAX = 86_400


@dataclass(frozen=True, slots=True)
class Record:
    """Times in unix seconds. `failures` since the last certificate."""

    failures: int = 0
    error: str = ""
    failed_at: float = 0
    issued: tuple[float, ...] = ()
    updated_at: float = 0

    def succeeded(self, now: float) -> "Record":
        recent = tuple(at for at in self.issued if at > now - _WEEK_SECONDS)
        return Record(issued=(*recent, now), updated_at=now)

    def failed(self, now: float, error: str) -> "Record":
        return dataclasses.replace(self, failures=self.failures + 1, error=error, failed_at=now, updated_at=now)

    def budget_at(self, now: float) -> float:
        """When another certificate may be ordered; the past when now."""
        recent = [at for at in self.issued if at > now - _WEEK_SECONDS]
        return recent[-ISSUED_MAX] + _WEEK_SECONDS if len(recent) >= ISSUED_MAX else 0.0

    def next_at(self, now: float) -> float:
        """When the next attempt may be made."""
        if not self.failures:
            return self.budget_at(now)
        wait = min(BACKOFF_SECONDS * 2.0 ** min(self.failures - 1, 16), BACKOFF_SECONDS_MAX)
        return max(self.failed_at + wait, self.budget_at(now))


def read_kept(folder: Path, name: str) -> Record:
    """What this node knows. A record that cannot be read counts for none."""
    try:
        return _parse((folder / f"{name}.json").read_bytes())
    except (OSError, ValueError, TypeError):
        return Record()


class Records:
    def __init__(self, redis: Redis, folder: Path) -> None:
        self._redis = redis
        self._folder = folder

    async def read(self, name: str) -> Record:
        """The newer of what this node and what all nodes know. Raises RedisError."""
        kept, shared = read_kept(self._folder, name), cast("bytes | None", await self._redis.get(self._key(name)))
        return max(kept, _parse(shared), key=lambda record: record.updated_at) if shared else kept

    async def write(self, hold: Hold, name: str, record: Record) -> None:
        """Raises RedisError or OSError."""
        text = json.dumps(dataclasses.asdict(record))
        write_private(self._folder / f"{name}.json", text)
        await hold.write(self._key(name), text, 2 * _WEEK_SECONDS)

    def _key(self, name: str) -> str:
        return f"{PREFIX}{self._folder.name}:record:{name}"


def _parse(text: bytes) -> Record:
    fields = json.loads(text)
    return Record(**{**fields, "issued": tuple(fields["issued"])})
