"""Ending background loops for certain."""

import asyncio


async def stop(task: asyncio.Task[None]) -> None:
    """Cancels until it helps: redis-py loses a cancellation that arrives while it subscribes."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
