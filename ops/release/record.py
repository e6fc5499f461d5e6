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

from ops.owner import as_owner
from ops.release.home import Home
from ops.stack.place import Place

_KEPT = 50


def read(place: Place) -> dict[str, Any]:
    """Without any upgrade so far: no upgrades."""
    with suppress(OSError, ValueError):
        content: Any = json.loads(path(place).read_text())
        if isinstance(content, dict) and isinstance(content.get("upgrades"), list):
            return content
    return {"upgrades": []}


def add(place: Place, home: Home, entry: dict[str, Any]) -> None:
    """Root does it as the owner of the state directory. Raises OSError."""
    current, previous = home.current_release(), home.previous_release()
    content: dict[str, Any] = {
        "home": str(home.path),
        "current": current.name if current else None,
        "previous": previous.name if previous else None,
    }
    with as_owner(place.var):
        content["upgrades"] = [entry, *read(place)["upgrades"]][:_KEPT]
        _write(path(place), json.dumps(content, indent=2) + "\n")


def path(place: Place) -> Path:
    return place.run / "releases.json"


def _write(target: Path, text: str) -> None:
    """Whole or not at all."""
    aside = target.with_name(f".{target.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(target)
