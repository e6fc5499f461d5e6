"""How an upgrade ended, as it is recorded and shown."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ops.release.home import Release, ReleaseError


@dataclass
class Outcome:
    """See `record.py` for what the fields mean, but for this one.

    is_begun    from then on `current` and the workers may be of another release than before
    """

    before: Release
    after: str
    result: str = "failed"
    reason: str = ""
    backup: str | None = None
    migrations: list[str] = field(default_factory=list)
    started_at: float = field(default_factory=time.time)
    running: str = ""
    seconds: float = 0.0
    is_begun: bool = False

    def entry(self) -> dict[str, Any]:
        when = datetime.fromtimestamp(self.started_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {
            "time": when,
            "seconds": self.seconds,
            "from": self.before.name,
            "to": self.after,
            "running": self.running or self.before.name,
            "result": self.result,
            "reason": self.reason,
            "backup": self.backup,
            "migrations": self.migrations,
        }


def reason_of(error: BaseException) -> str:
    """On one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    said = "; ".join(str(error).splitlines())
    return said if isinstance(error, ReleaseError) else f"{type(error).__name__}: {said}"
