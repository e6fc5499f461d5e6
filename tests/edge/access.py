"""The edge's own access log, as the fixtures write it."""

import asyncio
from pathlib import Path


async def access_lines(folder: Path, count: int) -> list[str]:
    """The log's lines once there are `count` of them: they leave in batches."""
    log = folder / "access.log"
    async with asyncio.timeout(5):
        while len(lines := log.read_text().split("\n")[:-1]) < count:
            await asyncio.sleep(0.01)
    return lines
