"""Migrate, then serve: what one container runs where the platform brings the servers.

Ends when it is told to, the edge first, so that requests in flight are finished; and when one of the three ends by
itself, because the platform then starts the container anew.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress

from ops.stack.place import MODULES

_MARGIN_SECONDS = 5.0


async def serve(environ: Mapping[str, str]) -> int:
    """The exit status: 0 when told to stop, 1 when a part ended by itself or had to be killed."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    if await _prepare(environ, told) != 0:
        return 1
    parts = {name: await _spawn(environ, "-m", module) for name, module in MODULES.items()}
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: _signal_all(parts, signal.SIGHUP))
    ends = {name: asyncio.create_task(part.wait(), name=name) for name, part in parts.items()}
    stopping = asyncio.create_task(told.wait())
    done, _ = await asyncio.wait([*ends.values(), stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for task in done - {stopping}:
        sys.stderr.write(f"start: {task.get_name()} ended with {task.result()}, so everything stops\n")
    is_clean = not (done - {stopping})
    # Behind the edge nothing arrives any more once it has ended: no lame duck for core and auth.
    for names, number in ((("edge",), signal.SIGTERM), (("core", "auth"), signal.SIGINT)):
        clean = await asyncio.gather(*(_stop(parts[name], number, environ) for name in names))
        is_clean = is_clean and all(clean)
    return 0 if is_clean else 1


async def _prepare(environ: Mapping[str, str], told: asyncio.Event) -> int:
    """In a process of its own: what migrations import would stay in memory for good."""
    preparing = await _spawn(environ, "-m", "ops.docker.bootstrap", "--check")
    stopping = asyncio.create_task(told.wait())
    ending = asyncio.create_task(preparing.wait())
    await asyncio.wait([stopping, ending], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not ending.done():
        preparing.terminate()  # each migration is one transaction
        await ending
        return 1
    return ending.result()


async def _spawn(environ: Mapping[str, str], *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, *words, env=dict(environ))


async def _stop(part: asyncio.subprocess.Process, number: signal.Signals, environ: Mapping[str, str]) -> bool:
    """True when it ended by itself within its own time."""
    with suppress(ProcessLookupError):
        part.send_signal(number)
    try:
        return await asyncio.wait_for(part.wait(), _patience(environ)) == 0
    except TimeoutError:
        part.kill()
        await part.wait()
        return False


def _patience(environ: Mapping[str, str]) -> float:
    """Seconds that a service may take to end: its own, which it has checked, and some more."""
    from common.settings import Settings, load  # noqa: PLC0415

    own = load(Settings, environ)
    return own.lame_duck_seconds + own.shutdown_seconds + _MARGIN_SECONDS


def _signal_all(parts: Mapping[str, asyncio.subprocess.Process], number: signal.Signals) -> None:
    for part in parts.values():
        with suppress(ProcessLookupError):
            part.send_signal(number)


def main() -> int:
    """The process's exit status."""
    return asyncio.run(serve({**os.environ, "LOG_TO": "stdout"}))
