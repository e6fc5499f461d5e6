"""Keeps connections busy for some seconds: with wrk where it is installed, else with a small client of our own."""

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

CONNECTIONS = 64


class BadAnswer(Exception):
    """Something else than 200 was answered: what was measured would not be what was meant."""


def tool() -> str:
    return "wrk" if shutil.which("wrk") else "the built-in client (one process: the load may be its limit)"


def load(url: str, headers: Mapping[str, str], seconds: int) -> int:
    """How many requests were answered with 200. Raises BadAnswer for any other."""
    if shutil.which("wrk"):
        return _wrk(url, headers, seconds)
    return asyncio.run(_own(url, headers, seconds))


def _wrk(url: str, headers: Mapping[str, str], seconds: int) -> int:
    words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    words += [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    said = subprocess.run([*words, url], capture_output=True, text=True, check=True).stdout
    if failed := re.search(r"Non-2xx.*|Socket errors.*", said):
        raise BadAnswer(f"{url}: {failed[0].strip()}")
    counted = re.search(r"(\d+) requests in", said)
    return int(counted[1]) if counted else 0


async def _own(url: str, headers: Mapping[str, str], seconds: int) -> int:
    parts = urlsplit(url)
    lines = [f"GET {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}"]
    request = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()
    until = time.monotonic() + seconds
    counts = await asyncio.gather(
        *(_connection(parts.hostname, parts.port, request, until) for _ in range(CONNECTIONS))
    )
    return sum(counts)


async def _connection(host: str | None, port: int | None, request: bytes, until: float) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    count = 0
    try:
        while time.monotonic() < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            if not head.startswith(b"HTTP/1.1 200"):
                raise BadAnswer(head.partition(b"\r\n")[0].decode())
            count += 1
    finally:
        writer.close()
        await writer.wait_closed()
    return count
