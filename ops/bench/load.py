"""Keeps connections busy for some seconds: with wrk where it is installed, else with a small client of our own."""

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

CONNECTIONS = 64
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
# Made before the load begins: wrk.format in each call would make wrk the bottleneck.
_IN_TURN = """
local requests, last = {}, 0
function init()
  for line in io.lines("%s") do
    local path, authorization = line:match("^(%%S+) (.+)$")
    requests[#requests + 1] = wrk.format("GET", path, {Authorization = authorization})
  end
end
function request()
  last = last %% #requests + 1
  return requests[last]
end
"""


class BadAnswer(Exception):
    """Something else than 200 was answered: what was measured would not be what was meant."""


@dataclass(frozen=True)
class Request:
    """One request, sent again and again; with a body it is a POST. `body_bytes` is how long that is.

    `several` are paths with the Authorization of each, sent in turn instead (by wrk alone). `is_refused`: every answer
    is to be an error, and one that is none is the fault.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body_bytes: int = 0
    several: Sequence[tuple[str, str]] = ()
    is_refused: bool = False


class Answered(NamedTuple):
    """How many were answered with 200, in how many seconds, and how long each took."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


def tool() -> str:
    return "wrk" if shutil.which("wrk") else "the built-in client (one process: the load may be its limit)"


def load(request: Request, seconds: int) -> Answered:
    """Raises BadAnswer for any answer but 200, and for none."""
    answered = _wrk(request, seconds) if shutil.which("wrk") else asyncio.run(_own(request, seconds))
    if not answered.requests:
        raise BadAnswer(f"{request.url}: nothing was answered")
    return answered


def _wrk(request: Request, seconds: int) -> Answered:
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "10"]
    words += [word for name, value in request.headers.items() for word in ("-H", f"{name}: {value}")]
    with tempfile.TemporaryDirectory(prefix="gatehouse-bench-wrk-") as folder:
        if script := _script(request, Path(folder)):
            (Path(folder) / "wrk.lua").write_text(script)
            words += ["-s", f"{folder}/wrk.lua"]
        said = subprocess.run([*words, request.url], capture_output=True, text=True, check=True).stdout
    return _read(said, request)


def _script(request: Request, folder: Path) -> str:
    """What wrk is to be told in Lua; empty for one plain request."""
    if request.body_bytes:
        return f'wrk.method = "POST"\nwrk.body = string.rep("x", {request.body_bytes})\n'
    if not request.several:
        return ""
    (folder / "requests").write_text("".join(f"{path} {authorization}\n" for path, authorization in request.several))
    return _IN_TURN % (folder / "requests")


def _read(said: str, request: Request) -> Answered:
    """What wrk prints, as figures."""
    counted = re.search(r"(\d+) requests in ([\d.]+)s", said)
    failed = re.search(r"Socket errors.*", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if request.is_refused and counted and (not refused or refused[1] != counted[1]):
        raise BadAnswer(f"{request.url}: {refused[1] if refused else 0} of {counted[1]} were refused")
    if failed or (refused and not request.is_refused):
        raise BadAnswer(f"{request.url}: {(failed or refused or [''])[0].strip()}")
    shares = dict(re.findall(r"^\s*(50|99)%\s+([\d.]+(?:us|ms|s))", said, re.MULTILINE))
    if counted is None or len(shares) < 2:
        return Answered(0, 0, 0, 0)
    return Answered(int(counted[1]), float(counted[2]), _milliseconds(shares["50"]), _milliseconds(shares["99"]))


def _milliseconds(text: str) -> float:
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * _UNITS_MS[unit]


async def _own(request: Request, seconds: int) -> Answered:
    parts = urlsplit(request.url)
    method = "POST" if request.body_bytes else "GET"
    lines = [f"{method} {parts.path or '/'}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Content-Length: {request.body_bytes}"] if request.body_bytes else []
    message = "\r\n".join([*lines, "", ""]).encode() + b"x" * request.body_bytes
    started = time.monotonic()
    times = [
        taken
        for connection in await asyncio.gather(
            *(_connection(parts.hostname, parts.port, message, started + seconds) for _ in range(CONNECTIONS))
        )
        for taken in connection
    ]
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    return Answered(len(times), time.monotonic() - started, p50, p99)


async def _connection(host: str | None, port: int | None, message: bytes, until: float) -> list[float]:
    """Seconds that each request took."""
    reader, writer = await asyncio.open_connection(host, port)
    times = []
    try:
        while (sent := time.monotonic()) < until:
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            if not head.startswith(b"HTTP/1.1 200"):
                raise BadAnswer(head.partition(b"\r\n")[0].decode())
            times.append(time.monotonic() - sent)
    finally:
        writer.close()
        await writer.wait_closed()
    return times
