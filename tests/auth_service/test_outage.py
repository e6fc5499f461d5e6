"""The database goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from aiohttp.test_utils import unused_port

from tests.auth_service.client import EMAIL, PASSWORD


@asynccontextmanager
async def relay(port: int, target: tuple[str, int]) -> AsyncIterator[None]:
    """Joins a port of ours with a server's while the block runs; then every connection is cut."""
    pumps: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*target)
        writers.extend((writer, far_writer))
        pumps.update({asyncio.create_task(pump(reader, far_writer)), asyncio.create_task(pump(far_reader, writer))})

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*pumps)


def through(url: str, port: int) -> tuple[str, tuple[str, int]]:
    """The same database through a relay's port, and where the relay leads."""
    parts = urlsplit(url)
    userinfo = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{userinfo}@127.0.0.1:{port}").geturl(), (parts.hostname or "", parts.port or 5432)


async def test_service_starts_without_its_database_and_recovers(start_auth, database_url):
    port = unused_port()
    url, server = through(database_url, port)
    auth = await start_auth(DATABASE_URL=url)
    body = {"email": EMAIL, "password": PASSWORD}
    calls = [
        ("POST", "/api/v1/auth/register", body),
        ("POST", "/api/v1/auth/login", body),
        ("GET", "/.well-known/jwks.json", None),
        ("GET", "/internal/revocations", None),
    ]
    for method, path, sent in calls:
        answer = await auth.call(method, path, sent)
        assert (answer.status, answer.error) == (503, "ServiceUnavailable"), path
        assert "127.0.0.1" not in str(answer.body)
    assert (await auth.call("GET", "/health")).status == 200
    ready = await auth.call("GET", "/health/ready")
    assert (ready.status, ready.body["checks"]["database"]) == (503, "unhealthy")

    async with relay(port, server):
        await auth.register()
        token = (await auth.login())["accessToken"]

    for method, path, sent in [*calls[:2], ("GET", "/api/v1/me", None)]:
        assert (await auth.call(method, path, sent, who=token)).status == 503, path
    jwks = await auth.call("GET", "/.well-known/jwks.json")
    assert jwks.status == 200  # kept in memory

    async with relay(port, server):
        assert (await auth.call("GET", "/api/v1/me", who=token)).status == 200
