"""What runs and how it is, put together from the controller or systemd, the system and the edge."""

import time
from pathlib import Path
from typing import Any

from ops.probe.target import edge_url
from ops.stack import probe, systemd
from ops.stack.control import ask
from ops.stack.place import Place
from ops.stack.process import descendants


def condition(place: Place) -> dict[str, Any] | None:
    """The controller's or systemd's status with process ids, uptimes, memory and readiness added; None: nothing runs.

    Memory is in bytes: each process's proportional share (PSS), where what several share is divided among them.
    """
    status = ask(place, "status") or systemd.status(place, edge_url())
    if status is None:
        return None
    status.setdefault("manager", "gatehouse up")
    now = time.time()
    for entry in (*status["services"], *status["servers"]):
        pids = [entry["pid"], *descendants(entry["pid"])] if entry["pid"] else []
        entry["pids"] = pids
        entry["uptime_seconds"] = round(now - entry["started_at"], 1) if entry["started_at"] else None
        entry["memory_bytes"] = sum(proportional_bytes(pid) for pid in pids)
    code, body = probe.fetch(f"{status['url']}/health/ready") if status["url"] else (0, {})
    status["uptime_seconds"] = round(now - (status["started_at"] or now), 1)
    status["memory_bytes"] = sum(entry["memory_bytes"] for entry in status["services"])
    status["readiness"] = body.get("status", "unavailable")
    status["checks"] = body.get("checks", {})
    status["ready"] = status["state"] == "running" and code == 200
    return status


def proportional_bytes(pid: int) -> int:
    """The PSS of one process (proc(5), smaps_rollup); its resident set where the system does not tell."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        from ops.stack.process import resident_bytes  # noqa: PLC0415

        return resident_bytes(pid)
    return 0
