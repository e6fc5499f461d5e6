"""A real store for every test here: one shared by the session, and private ones that a test may stop or starve."""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from redis import Redis as BlockingRedis
from structlog.testing import LogCapture

from common.limits import Limiter, connect
from tests.store_server import Server


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if url := os.environ.get("TEST_REDIS_URL"):
        yield url
        return
    server = Server(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A store that the test may kill, stop or starve."""
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(redis_url: str) -> Iterator[BlockingRedis]:
    """A look into the shared store."""
    with BlockingRedis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def subject() -> str:
    """A subject that no other test counts for."""
    return f"user:{uuid.uuid4()}"


@pytest.fixture
def log() -> LogCapture:
    return LogCapture()


@pytest.fixture
async def new_limiter(log: LogCapture) -> AsyncIterator[Callable[..., Limiter]]:
    """`new_limiter(url)` makes a limiter that is closed with the test."""
    opened = []

    def make(url: str, processes: int = 1, timeout_seconds: float = 1.0, **options: Any) -> Limiter:
        client = connect(url)
        logger = structlog.wrap_logger(None, processors=[log])
        limiter = Limiter(
            client, processes=processes, timeout_seconds=timeout_seconds, probe_seconds=0.05, log=logger, **options
        )
        opened.append((limiter, client))
        return limiter

    yield make
    for limiter, client in opened:
        await limiter.close()
        await client.aclose()


@pytest.fixture
async def limiter(redis_url: str, new_limiter: Callable[..., Limiter]) -> Limiter:
    limiter = new_limiter(redis_url)
    await limiter.open()
    return limiter
