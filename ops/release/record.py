"""`run/releases.json`: what was upgraded, when, and how it ended.

    {"home": "/opt/gatehouse", "current": "0.2.1", "previous": "0.2.0", "upgrades": [newest first, at most 50: {
      "time": "2025-11-21T10:30:00Z", "seconds": 21.4, "from": "0.2.0", "to": "0.2.1", "running": "0.2.1",
      "result": "upgraded" | "rolled back" | "failed" | "unchanged" | "broken",
      "reason": "" or one sentence, "backup": path or null, "migrations": ["core_0002"]}]}

`rolled back`: the new release was tried and the old one serves again, or going back was what was asked. `failed`:
nothing was switched. `broken`: going back did not work either, `running` is what `current` points at.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ops.release.children import stack_owner
from ops.release.home import Home
from ops.stack.place import Place

_KEPT = 50


def read(place: Place) -> dict[str, Any]:
    """Without any upgrade so far: no upgrades."""
    with suppress(OSError, ValueError):
        content: dict[str, Any] = json.loads(path(place).read_text())
        return content
    return {"upgrades": []}


def add(place: Place, home: Home, entry: dict[str, Any]) -> None:
    """Raises OSError."""
    current, previous = home.current_release(), home.previous_release()
    content = {
        "home": str(home.path),
        "current": current.name if current else None,
        "previous": previous.name if previous else None,
        "upgrades": [entry, *read(place)["upgrades"]][:_KEPT],
    }
    _write(path(place), json.dumps(content, indent=2) + "\n", stack_owner(place.var))


def path(place: Place) -> Path:
    return place.run / "releases.json"


def _write(target: Path, text: str, owner: tuple[int, int] | None) -> None:
    """Whole or not at all. Never through a link: root writes here, into a folder that another user owns."""
    aside = target.with_name(f".{target.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(target)
