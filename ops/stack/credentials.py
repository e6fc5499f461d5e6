"""`var/gatehouse.json`: how to reach this stack as its first admin. Development only."""

import json
import os
from pathlib import Path
from typing import Any

from ops.stack.place import Place


def hold(place: Place, admin: dict[str, str]) -> None:
    """Keeps the password beside, as soon as it exists: it is stored nowhere else, and the stack is not ready yet."""
    _write(_held(place), admin)


def publish(place: Place, url: str) -> tuple[dict[str, Any] | None, bool]:
    """Brings gatehouse.json up to date; its content and whether its password is new.

    None where neither a file nor a new admin is there: somebody removed the file, or the database came with its users.
    """
    known, fresh = _read(place.credentials), _read(_held(place))
    if fresh is not None:
        known = {"admin": {"email": fresh["email"], "password": fresh["password"]}, "api_key": fresh["api_key"]}
    if known is None:
        return None, False
    known = {**known, "url": url}
    _write(place.credentials, {name: known[name] for name in ("url", "admin", "api_key")})
    _held(place).unlink(missing_ok=True)
    return known, fresh is not None


def _held(place: Place) -> Path:
    return place.run / "admin.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all, and never readable by others."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
