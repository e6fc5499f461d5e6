"""Room to live: memory, disk, file descriptors."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from ops.stack.doctor import Finding
from ops.stack.doctor.production.host import Host

_MEMORY_MIN, _MEMORY_GOOD = 128 << 20, 512 << 20
_TOTAL_MIN = 1 << 30
_DISK_SHARE_MIN = 0.10
_FILES_MIN = 4096


def check(host: Host) -> Iterator[Finding]:
    yield memory(psutil.virtual_memory().total, psutil.virtual_memory().available)
    yield _disk(host)
    yield _files(host)


def memory(total: int, available: int) -> Finding:
    """The guides' least machine has 1 GB."""
    detail = f"{available / 1e9:.1f} of {total / 1e9:.1f} GB available"
    if available < _MEMORY_MIN:
        return Finding("Memory", "fail", detail, "add memory or swap, or lower *_WORKERS and DATABASE_POOL_MAX")
    if available < _MEMORY_GOOD or total < _TOTAL_MIN:
        return Finding("Memory", "warn", detail, "1 GB is the least that the whole stack is comfortable in")
    return Finding("Memory", "ok", detail)


def _disk(host: Host) -> Finding:
    path = next(step for step in (host.place.var, *host.place.var.parents) if step.exists())
    found = shutil.disk_usage(path)
    share = found.free / found.total
    detail = f"{share:.0%} free on the file system of {path}"
    if share < _DISK_SHARE_MIN:
        return Finding("Disk share", "warn", detail, "`gatehouse resources` shows what is large")
    return Finding("Disk share", "ok", detail)


def _files(host: Host) -> Finding:
    """Of the edge where it runs: each client and each upstream connection takes one."""
    limit, of = _limit(host)
    detail = f"{of} may open {limit}" if limit >= 0 else f"{of} has no limit"
    if 0 <= limit < _FILES_MIN:
        return Finding("Open files", "fail", detail, "set LimitNOFILE=65536 in the unit (ulimit -n in a shell)")
    return Finding("Open files", "ok", detail)


def _limit(host: Host) -> tuple[int, str]:
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [])[-2:] == ["-m", "edge"]:
            with suppress(psutil.Error, OSError):
                if process.environ().get("GATEHOUSE_VAR") == str(host.place.var):
                    return files_limit(Path(f"/proc/{process.pid}/limits").read_text()), "the edge"
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0], "a process of this user"


def files_limit(limits: str) -> int:
    """The soft one of proc(5)'s limits; -1 without any."""
    line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    soft = line.split()[3]
    return -1 if soft == "unlimited" else int(soft)
