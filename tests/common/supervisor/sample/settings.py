"""Read from the JSON file $SAMPLE_CONFIG names, so that a test can change it between reloads."""

import json
import os
import signal
from pathlib import Path
from typing import Any


class SampleError(Exception):
    """Stands for SettingsError."""


def config() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(os.environ["SAMPLE_CONFIG"]).read_text())
    return loaded


def check() -> dict[str, Any]:
    settings = config()
    if faults := settings.get("faults"):
        raise SampleError("\n".join(faults))
    if settings.get("check") == "hang":
        signal.pause()
    listen: list[dict[str, Any]] = [
        {"name": "http", "host": "127.0.0.1", "port": settings["port"], "setting": "SAMPLE_PORT"}
    ]
    if path := settings.get("admin"):
        listen.append({"name": "admin", "path": path})
    return {
        "workers": settings.get("workers", 1),
        "listen": listen,
        "lame_duck_seconds": settings.get("lame_duck", 0.3),
        "shutdown_seconds": settings.get("shutdown", 5),
        "log": settings.get("log", ""),
    }
