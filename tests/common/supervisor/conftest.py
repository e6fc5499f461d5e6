"""Runs the sample service as real processes, and talks to it with a client that forgives nothing."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
WAIT_SECONDS = 15


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One kept-alive connection. Obeys `Connection: close`; anything else that ends it is an error."""

    def __init__(self, address: int | str) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        async with asyncio.timeout(WAIT_SECONDS):
            await self.send(method, path, body)
            return await self.receive()

    async def send(self, method: str, path: str, body: bytes = b"", *, later: int = 0) -> None:
        """`later` bytes of the body stay unsent: the request is in flight until they follow by `send_rest`."""
        head = f"{method} {path} HTTP/1.1\r\nHost: sample\r\nContent-Length: {len(body) + later}\r\n\r\n"
        await self.send_rest(head.encode() + body)

    async def send_rest(self, data: bytes) -> None:
        _, writer = await self.connect()
        writer.write(data)
        await writer.drain()

    async def receive(self) -> Answer:
        reader, _ = await self.connect()
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            assert await reader.read() == b""
            self.close()
        return Answer(int(start.split()[1]), headers, body)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            if isinstance(self._address, int):
                self._streams = await asyncio.open_connection("127.0.0.1", self._address)
            else:
                self._streams = await asyncio.open_unix_connection(self._address)
        return self._streams

    async def ended(self) -> bool:
        """Waits until the server ends the connection; whether it did so without a byte."""
        reader, _ = await self.connect()
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                return await reader.read() == b""
            except ConnectionResetError:
                return True

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Sample:
    """A running `python -m sample`: its parent process, what it says on stderr, clients for its port."""

    def __init__(self, config: Path, process: asyncio.subprocess.Process) -> None:
        self.port: int = json.loads(config.read_text())["port"]
        self.process = process
        self.said = ""
        self._config = config
        self._news = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())
        self._clients: list[Client] = []

    async def _listen(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._news:
                self.said += line.decode()
                self._news.notify_all()

    async def saying(self, text: str, times: int = 1) -> None:
        """Waits until stderr holds `text` that many times."""
        async with asyncio.timeout(WAIT_SECONDS), self._news:
            await self._news.wait_for(lambda: self.said.count(text) >= times)

    def configure(self, **changes: Any) -> None:
        self._config.write_text(json.dumps(json.loads(self._config.read_text()) | changes))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit status, with all of stderr read."""
        async with asyncio.timeout(WAIT_SECONDS):
            status = await self.process.wait()
            await self._listening
        return status

    def client(self, address: int | str | None = None) -> Client:
        self._clients.append(Client(address or self.port))
        return self._clients[-1]

    async def pids(self) -> dict[int, str]:
        """Of all workers, with their state, as the parent sees them."""
        client = Client(self.port)
        try:
            return {worker["pid"]: worker["state"] for worker in (await client.request("GET", "/status")).json()}
        finally:
            client.close()

    def children(self) -> list[int]:
        """Processes of the parent, as the kernel sees them."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    async def worker_process(self) -> int:
        """Waits for the first worker to be spawned, ready or not."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                for pid in self.children():
                    with contextlib.suppress(OSError):
                        if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"\0worker\0"):
                            return pid
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        for client in self._clients:
            client.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()


async def gone(pid: int) -> None:
    """Waits until no such process runs; a process that is not our child has no event to wait for."""
    async with asyncio.timeout(WAIT_SECONDS):
        while runs(pid):
            await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    """A zombie, which nobody may be there to reap, has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


Start = Callable[..., Awaitable[Sample]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(workers=2, …)` answers a Sample that is ready; `ready=False` does not wait for that."""
    async with contextlib.AsyncExitStack() as running:

        async def begin(
            *,
            ready: bool = True,
            launcher: Sequence[str] = (),
            inherit: Sequence[int] = (),
            environ: Mapping[str, str] = {},
            **settings: Any,
        ) -> Sample:
            config = tmp_path / "sample.json"
            config.write_text(json.dumps({"port": free_port()} | settings))
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(launcher or ("-m", "sample")),
                env=os.environ | {"PYTHONPATH": str(HERE), "SAMPLE_CONFIG": str(config), **environ},
                stderr=asyncio.subprocess.PIPE,
                pass_fds=inherit,
            )
            sample = Sample(config, process)
            running.push_async_callback(sample.close)
            if ready:
                await sample.saying("sample: ready")
            return sample

        yield begin
