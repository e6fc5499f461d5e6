"""CPU of the client leg per small request: `python tests/common/http1/benchmark.py [requests] [concurrency]`.

The upstream is another process that answers every read with the same bytes; what is measured is this process's CPU
time. The same loop over a bare asyncio.Protocol, which neither parses nor pools, gives the floor. Both alternate, and
the medians count: one run alone says little on a shared machine.
"""

import asyncio
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop

from common.http1 import Pool

BODY = b'{"id": "0190d5f0-0000-7000-8000-000000000000", "amount": "12.30", "currency": "EUR"}'.ljust(180)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 180\r\n"
    b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: upstream\r\nX-Request-ID: 0123456789abcdef\r\n"
    b"X-Gatehouse-Route: /api/v1/expenses/{id}\r\n\r\n" + BODY
)
HEADERS = [
    (b"Host", b"api.example.com"),
    (b"User-Agent", b"wrk/4.1"),
    (b"Accept", b"*/*"),
    (b"X-Request-ID", b"0123456789abcdef"),
    (b"X-Forwarded-For", b"10.1.2.3"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Real-IP", b"10.1.2.3"),
    (b"Authorization", b"Bearer 0123456789abcdef0123456789abcdef"),
    (b"X-Gatehouse-User", b"0190d5f0-0000-7000-8000-000000000000"),
    (b"X-Gatehouse-Permissions", b"expenses:read expenses:write"),
]
TARGET = b"/api/v1/expenses/0190d5f0?expand=true"
HEAD = b"GET " + TARGET + b" HTTP/1.1" + b"".join(b"\r\n%b: %b" % h for h in HEADERS) + b"\r\n\r\n"


class Responder(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


class Bare(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.waiter.set_result(data)

    async def ask(self) -> None:
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(HEAD)
        await self.waiter


def serve(listener: socket.socket) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Responder, sock=listener)
        await server.serve_forever()

    uvloop.run(run())


async def repeat(times: int, ask: Callable[[], Awaitable[object]]) -> None:
    for _ in range(times):
        await ask()


async def measure_bare(port: int, times: int, concurrency: int) -> float:
    loop = asyncio.get_running_loop()
    peers = [(await loop.create_connection(Bare, "127.0.0.1", port))[1] for _ in range(concurrency)]
    started = time.process_time()
    await asyncio.gather(*(repeat(times // concurrency, peer.ask) for peer in peers))
    spent = time.process_time() - started
    for peer in peers:
        peer.transport.abort()
    return spent / times * 1e6


async def measure_leg(port: int, times: int, concurrency: int) -> float:
    pool = Pool(f"http://127.0.0.1:{port}", connections_max=concurrency)

    async def ask() -> None:
        response = await pool.request("GET", TARGET, HEADERS)
        assert response.complete is not None

    await asyncio.gather(*(ask() for _ in range(concurrency)))
    started = time.process_time()
    await asyncio.gather(*(repeat(times // concurrency, ask) for _ in range(concurrency)))
    spent = time.process_time() - started
    await pool.close()
    return spent / times * 1e6


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    concurrency = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    upstream = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
    upstream.start()
    for name, run in (("uvloop", uvloop.run), ("asyncio", asyncio.run)):
        bare, leg = [], []
        for _ in range(7):
            bare.append(run(measure_bare(port, times, concurrency)))
            leg.append(run(measure_leg(port, times, concurrency)))
        floor, cost = statistics.median(bare), statistics.median(leg)
        sys.stdout.write(f"{name:8} bare {floor:5.1f} µs  leg {cost:5.1f} µs  difference {cost - floor:5.1f} µs\n")
    upstream.terminate()
    upstream.join()


if __name__ == "__main__":
    main()
