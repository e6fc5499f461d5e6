"""Has a certificate ordered by `order.py` in a process of its own, serving the challenge meanwhile."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from common import json
from edge.tls.settings import Authority

SECONDS_MAX = 160.0  # less than a lock's term
_LINE_BYTES_MAX = 1024 * 1024
Serve = Callable[[str, str], Awaitable[None]]


class OrderFailed(Exception):
    """The authority gave no certificate; str() says why, for a person."""


async def order(authority: Authority, folder: Path, name: str, serve: Serve) -> bytes:
    """Key and chain of a new certificate for `name` in one text. `serve(token, answer)` makes the answer seen.

    `folder` keeps the account's key. Raises OrderFailed, or what `serve` raises.
    """
    asked = {"directory": authority.directory, "email": authority.email, "name": name}
    try:
        async with asyncio.timeout(SECONDS_MAX), _process(authority.bundle) as process:
            _tell(process, json.dumps({**asked, "account": str(folder / "account.key")}))
            while "token" in (answer := await _heard(process)):
                await serve(answer["token"], answer["answer"])
                _tell(process, b"")
    except TimeoutError:
        raise OrderFailed(f"{authority.directory} took longer than {SECONDS_MAX:.0f} s") from None
    if "error" in answer:
        raise OrderFailed(answer["error"])
    return f"{answer['key']}{answer['chain']}".encode()


@contextlib.asynccontextmanager
async def _process(bundle: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Ended with the block, whatever it is doing."""
    environ = {**os.environ, **({"REQUESTS_CA_BUNDLE": bundle} if bundle else {})}
    flags = ["-P"] if sys.flags.safe_path else []
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(*flags, "-m", "edge.tls.order"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environ,
        limit=_LINE_BYTES_MAX,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _tell(process: asyncio.subprocess.Process, line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line + b"\n")


async def _heard(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    answer: dict[str, Any] = json.loads(line) if line else {"error": "the process that orders ended without a word"}
    return answer
