"""A worker's runners on sockets it was given."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from common.supervisor.listeners import bind
from common.supervisor.plan import Listener
from common.supervisor.serving import Serving, Tls


def certificate(directory: Path) -> Path:
    """Certificate and key for 127.0.0.1 in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sample")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "sample.pem"
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return path


def runner(cleaned: list[str]) -> web.AppRunner:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=request.scheme)

    async def resource(_app: web.Application) -> AsyncIterator[None]:
        yield
        cleaned.append("once")

    app = web.Application()
    app.router.add_get("/", hello)
    app.cleanup_ctx.append(resource)
    return web.AppRunner(app)


def listening() -> tuple[socket.socket, str]:
    sock = bind(Listener("any", "127.0.0.1", 0))
    return sock, f"127.0.0.1:{sock.getsockname()[1]}"


async def test_one_runner_serves_plain_and_tls(tmp_path: Path) -> None:
    path = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    cleaned: list[str] = []
    app, (http, plain), (https, secure) = runner(cleaned), listening(), listening()
    serving = Serving()
    await serving.start({"http": app, "https": Tls(app, context)}, {"http": http, "https": https})
    async with ClientSession() as session:
        async with session.get(f"http://{plain}/") as answer:
            assert await answer.text() == "http"
        async with session.get(f"https://{secure}/", ssl=ssl.create_default_context(cafile=path)) as answer:
            assert await answer.text() == "https"
    await serving.finish(1, asyncio.Event())
    assert cleaned == ["once"]


async def test_listener_without_runner_is_a_defect() -> None:
    sock, _ = listening()
    with sock, pytest.raises(RuntimeError, match=r"listens on \['http'\], the application serves \['admin'\]"):
        await Serving().start({"admin": runner([])}, {"http": sock})


async def test_runner_whose_set_up_fails_is_cleaned_up() -> None:
    cleaned: list[str] = []
    app = runner(cleaned)

    async def fails(_app: web.Application) -> None:
        raise OSError("no database")

    app.app.on_startup.append(fails)
    sock, _ = listening()
    serving = Serving()
    with sock, pytest.raises(OSError, match="no database"):
        await serving.start({"http": app}, {"http": sock})
    await serving.finish(0, asyncio.Event())
    assert cleaned == ["once"]
