"""A real nginx or Caddy on free ports, with a real edge or any server of the test's behind it."""

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from ops.front import Front, render
from tests.edge.conftest import Edge, StartEdge, start_edge, start_upstream  # noqa: F401 - fixtures
from tests.ops.front.certificates import Authority
from tests.ops.stacks import free_ports
from tests.tools import tool

DOMAINS = ("api.example.com", "*.tenants.example.com", "www.example.org")
START_SECONDS = 20


class ToUs(AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        return None


@dataclass
class Running:
    """`get` and `client` reach it under any name; `log` is what it wrote about requests."""

    kind: str
    http_port: int
    https_port: int
    context: ssl.SSLContext
    client: ClientSession
    folder: Path

    def url(self, path: str, host: str = "api.example.com", scheme: str = "https") -> str:
        return f"{scheme}://{host}:{self.https_port if scheme == 'https' else self.http_port}{path}"

    async def raw(self, request: bytes, *, tls: bool = True, server_name: str = "api.example.com") -> "Answer":
        """Sends bytes as they are; the answer, its header lines unmerged."""
        port, context = (self.https_port, self.context) if tls else (self.http_port, None)
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname=server_name if tls else None
            )
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().splitlines()
            headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines[1:] if line)]
            body = await reader.readexactly(int(dict(headers).get("content-length", 0)))
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        return Answer(int(lines[0].split()[1]), headers, body)

    async def get(self, path: str, host: str = "api.example.com", **headers: str) -> "Answer":
        sent = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        return await self.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{sent}\r\n".encode())

    def log(self) -> list[str]:
        return (self.folder / "access.log").read_text().splitlines()


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name.lower()]

    def json(self) -> Any:
        return json.loads(self.body)


StartFront = Callable[..., Awaitable[Running]]


@pytest.fixture(params=["nginx", "caddy"])
def kind(request: pytest.FixtureRequest) -> str:
    tool(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("certificates"))
    for domain in DOMAINS:
        made.issue(domain)
    return made


@pytest.fixture
async def start_front(tmp_path: Path, authority: Authority, kind: str) -> AsyncIterator[StartFront]:
    """`await start_front("host:port", **fields of Front)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(upstream: str, **fields: Any) -> Running:
            http_port, https_port = free_ports(2)
            front = Front(
                **{
                    "domains": DOMAINS,
                    "upstream": upstream.removeprefix("http://"),
                    "certificates": str(authority.folder),
                    "webroot": str(tmp_path / "webroot"),
                    "storage": str(tmp_path / "caddy"),
                    "http_port": http_port,
                    "https_port": https_port,
                    "ipv6": False,
                    **fields,
                }
            )
            command = nginx_command(front, tmp_path) if kind == "nginx" else caddy_command(front, tmp_path)
            await stack.enter_async_context(running(command, tmp_path, https_port))
            context = ssl.create_default_context(cafile=authority.root)
            connector = TCPConnector(resolver=ToUs(), ssl=context, force_close=True)
            client = await stack.enter_async_context(
                ClientSession(connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False)
            )
            return Running(kind, http_port, https_port, context, client, tmp_path)

        yield start


def nginx_command(front: Front, folder: Path) -> list[str]:
    site, config = folder / "site.conf", folder / "nginx.conf"
    site.write_text(render("nginx", front))
    config.write_text(render("nginx/nginx.conf.j2", front, scratch=folder, site=site, access_log=folder / "access.log"))
    # As root its workers would be a user that cannot pass through pytest's directories.
    return [tool("nginx"), "-c", str(config), "-g", "daemon off;" + (" user root;" if os.getuid() == 0 else "")]


def caddy_command(front: Front, folder: Path) -> list[str]:
    config = folder / "Caddyfile"
    config.write_text(render("caddy", front))
    return [tool("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]


@contextlib.asynccontextmanager
async def running(command: list[str], folder: Path, port: int) -> AsyncIterator[None]:
    """Until it listens, and to its end."""
    said = folder / "said.log"
    with said.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=output,
            stderr=output,
            env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await listens(port):
                assert process.returncode is None, said.read_text()
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return True


ROUTES = """
[upstream.any]
servers = ["{url}"]

[[route]]
path = "/"
upstream = "any"
auth = "none"
limits = []
"""


@pytest.fixture
async def start_both(start_edge: StartEdge, start_front: StartFront) -> Callable[..., Awaitable[Running]]:  # noqa: F811
    """A front before an edge before the upstream at `url`."""

    async def start(url: str, **environ: str) -> Running:
        edge: Edge = await start_edge(
            ROUTES.format(url=url), DOMAINS=",".join(DOMAINS), TRUSTED_PROXIES="127.0.0.1/32", **environ
        )
        return await start_front(edge.url)

    return start
