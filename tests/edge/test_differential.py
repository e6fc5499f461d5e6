"""The corpus through nginx and HAProxy: wherever their upstream sees something else, docs/http.md says why."""

import asyncio
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.edge.corpus import CORPUS, Case
from tests.edge.corpus.answers import send, whole
from tests.edge.corpus.differences import HAPROXY, NGINX
from tests.edge.corpus.recorder import Recorder, recording
from tests.tools import tool

_LANES = 16
_SECONDS = 3  # some wait for more than we send
Pairs = list[tuple[int, int]]  # where the proxy listens, where its upstream does


def nginx(folder: Path, pairs: Pairs) -> list[str]:
    forwarding = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;'
    servers = "\n".join(
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; {forwarding} }} }}"
        for port, upstream in pairs
    )
    scratch = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; events {{}}\n"
        f"http {{ access_log off; {scratch} keepalive_timeout 200ms; client_header_timeout 500ms; "
        f"client_body_timeout 500ms; large_client_header_buffers 4 16k; lingering_close off;\n{servers} }}\n"
    )
    return [tool("nginx"), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, pairs: Pairs) -> list[str]:
    proxies = "\n".join(
        f"listen at{port}\n bind 127.0.0.1:{port}\n server it 127.0.0.1:{upstream}" for port, upstream in pairs
    )
    (folder / "haproxy.cfg").write_text(
        "global\n nbthread 1\n tune.bufsize 65536\n"
        "defaults\n mode http\n option http-buffer-request\n timeout connect 5s\n timeout server 5s\n"
        f" timeout client 500ms\n timeout http-request 500ms\n timeout http-keep-alive 200ms\n{proxies}\n"
    )
    return [tool("haproxy"), "-db", "-q", "-f", str(folder / "haproxy.cfg")]


PROXIES = {"nginx": (nginx, NGINX), "haproxy": (haproxy, HAPROXY)}


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


async def listening(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                with closing(socket.create_connection(("127.0.0.1", port))):
                    return
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


async def differing(ports: list[int], recorders: list[Recorder]) -> list[Case]:
    """The cases whose upstream saw something else than the edge's does."""
    waiting, found = list(reversed(CORPUS)), []

    async def lane(port: int, recorder: Recorder) -> None:
        while waiting:
            case = waiting.pop()
            recorder.forget()
            await send(port, whole(case.raw), seconds=_SECONDS)
            if recorder.faults or tuple(recorder.seen) != case.seen:
                found.append(case)

    await asyncio.gather(*map(lane, ports, recorders))
    return found


@pytest.mark.parametrize("name", PROXIES)
async def test_each_difference_to_another_proxy_is_explained(tmp_path: Path, name: str) -> None:
    command, reasons = PROXIES[name]
    async with AsyncExitStack() as stack:
        recorders = [await stack.enter_async_context(recording()) for _ in range(_LANES)]
        ports = free_ports(_LANES)
        pairs = [(port, recorder.port) for port, recorder in zip(ports, recorders, strict=True)]
        stack.enter_context(running(command(tmp_path, pairs)))
        await listening(ports[-1])
        found = await differing(ports, recorders)
    assert found, "as strict as the edge: then differences.py and docs/http.md are out of date"
    unexplained = [case.name for case in found if not any(re.fullmatch(names, case.name) for names in reasons.values())]
    assert unexplained == []


def test_every_reason_is_documented_and_explains_a_case() -> None:
    documented = Path("docs/http.md").read_text()
    for reasons in (NGINX, HAPROXY):
        for reason, names in reasons.items():
            assert reason in documented
            assert any(re.fullmatch(names, case.name) for case in CORPUS), reason
