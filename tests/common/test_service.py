"""The kit of a service over a real socket: what is no proper request, or none at all, is answered in the envelope."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from aiohttp import web

from common import json
from common.service import create_service, runner
from common.worker import Worker

KEY = b"Authorization: ApiKey key-of-the-tests\r\n"
ENVELOPE = {"success", "error", "message", "statusCode", "timestamp", "path", "method", "requestId"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def error(self) -> str:
        """The error's name, once the envelope is as promised."""
        body: dict[str, Any] = json.loads(self.body)
        assert set(body) == ENVELOPE
        assert (body["success"], body["statusCode"]) == (False, self.status)
        assert body["requestId"] == self.headers["X-Request-ID"]
        return str(body["error"])


class Service:
    def __init__(self, port: int) -> None:
        self._port = port

    async def send(self, raw: bytes, *, closes: bool = False) -> Answer:
        """The answer to `raw`; with `closes` the service must end the connection behind it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.timeout(5):
                writer.write(raw)
                status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers["Content-Length"]))
                if closes:
                    assert await reader.read() == b""
        finally:
            writer.close()
        return Answer(int(status.split()[1]), headers, body)


async def hello(request: web.Request) -> web.Response:
    return web.Response(text=f"{len(request.query_string)} {len(request.headers)}")


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    app = create_service("sample", service_key="key-of-the-tests", runtime=Worker(), checks={})
    app.router.add_get("/hello", hello)
    serving = runner(app, shutdown_seconds=1)
    await serving.setup()
    await web.TCPSite(serving, "127.0.0.1", 0).start()
    yield Service(serving.addresses[0][1])
    await serving.cleanup()


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (b"/hello?" + b"a" * 16_384, b""),
        (b"/hello", b"X-Long: " + b"a" * 16_384 + b"\r\n"),
        (b"/hello", b"X-Gatehouse-Permissions: " + b"expenses:read " * 4000 + b"\r\n"),
        (b"/hello", b"".join(b"X-%d: a\r\n" % number for number in range(130))),
    ],
)
async def test_what_passed_the_edge_is_not_too_large_for_a_service(
    service: Service, target: bytes, headers: bytes
) -> None:
    answer = await service.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + KEY + headers + b"\r\n")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("raw", "status", "error"),
    [
        (b"GET /hello?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "HeadersTooLarge"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", 431, "HeadersTooLarge"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 300 + b"\r\n", 431, "HeadersTooLarge"),
        (b"HELLO\xff /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400, "BadRequest"),
        (b"GET /hello\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "BadRequest"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nA : a\r\n\r\n", 400, "BadRequest"),
    ],
)
async def test_what_cannot_be_parsed_gets_the_envelope_and_the_end(
    service: Service, raw: bytes, status: int, error: str
) -> None:
    answer = await service.send(raw, closes=True)
    assert (answer.status, answer.error()) == (status, error)
    assert answer.headers["Content-Type"].startswith("application/json")


async def test_log_of_what_cannot_be_parsed_quotes_no_credential(service: Service) -> None:
    with structlog.testing.capture_logs() as entries:
        await service.send(b"GET /hello HTTP/1.1\r\nAuthorization: ApiKey hunter2\0\r\n\r\n", closes=True)
        await service.send(b"GET /hello HTTP/1.1\r\nAuthorization: hunter2" + b"x" * 70_000 + b"\r\n\r\n", closes=True)
    assert [entry["event"] for entry in entries] == ["request_unreadable"] * 2
    assert [entry["status"] for entry in entries] == [400, 431]
    assert all(entry["detail"] for entry in entries)
    assert "hunter2" not in str(entries)


@pytest.mark.parametrize("offered", [b"\xff", b"ApiKey key-of-the-tests\xff", "ApiKey schlüssel".encode()])
async def test_service_key_of_any_bytes_is_401(service: Service, offered: bytes) -> None:
    answer = await service.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nAuthorization: " + offered + b"\r\n\r\n")
    assert (answer.status, answer.error()) == (401, "Unauthorized")
