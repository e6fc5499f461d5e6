"""What a client meets: its own certificate by name, modern protocols alone; plain HTTP is sent away."""

import asyncio
import contextlib
import json
import ssl
import warnings
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector, web

from tests.edge.conftest import Edge, StartEdge, StartUpstream, table
from tests.edge.tls.conftest import Certificates, leaf, names

HOSTS = {"DOMAINS": "one.test,two.test,*.three.test"}


async def show(request: web.BaseRequest) -> web.Response:
    return web.json_response(dict(request.headers))


async def ask(edge: Edge, host: str, context: ssl.SSLContext, path: str = "/", name: str = "") -> tuple[int, bytes]:
    """Status and body over TLS, verified as `name` (the host where none is given)."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", edge.tls_port, ssl=context, server_hostname=name or host
        )
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return int(head.split()[1]), body


async def test_each_name_gets_its_own_certificate_and_every_domain_the_same_api(
    start_edge: StartEdge, start_upstream: StartUpstream, certificates: Certificates
) -> None:
    for name in ("one.test", "two.test", "*.three.test"):
        certificates.put(name)
    edge = await start_edge(table(await start_upstream(show)), **HOSTS)
    trusting = certificates.authority.client()
    for host in ("one.test", "two.test", "a.three.test", "B.Three.test"):
        status, body = await ask(edge, host, trusting)
        told = json.loads(body)
        assert (status, told["X-Forwarded-Proto"], told["X-Forwarded-Host"]) == (200, "https", host)
    for host, expected in (("one.test", "one.test"), ("two.test", "two.test"), ("a.three.test", "*.three.test")):
        assert names(await leaf(edge.tls_port, host)) == [expected]


async def test_unknown_name_is_refused_and_none_gets_the_first_hosts_certificate(
    start_edge: StartEdge, start_upstream: StartUpstream, certificates: Certificates
) -> None:
    for name in ("a.test", "one.test"):
        certificates.put(name)
    edge = await start_edge(table(await start_upstream(show)), **HOSTS)
    for name in ("stranger.test", "sub.one.test"):
        with pytest.raises(ConnectionResetError):
            await leaf(edge.tls_port, name)
    assert names(await leaf(edge.tls_port, None)) == ["one.test"]
    status, _ = await ask(edge, "stranger.test", certificates.authority.client(), name="one.test")
    assert status == 421


async def test_a_wildcard_stands_for_one_label(
    start_edge: StartEdge, start_upstream: StartUpstream, certificates: Certificates
) -> None:
    certificates.put("*.three.test")
    edge = await start_edge(table(await start_upstream(show)), **HOSTS)
    for name in ("three.test", "a.b.three.test"):
        with pytest.raises(ConnectionResetError):
            await leaf(edge.tls_port, name)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(
    start_edge: StartEdge, start_upstream: StartUpstream, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    certificates.put("one.test")
    edge = await start_edge(table(await start_upstream(show)), **HOSTS)
    context = certificates.authority.client()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", edge.tls_port, ssl=context, server_hostname="one.test")
    agreed: ssl.SSLObject = writer.get_extra_info("ssl_object")
    assert (agreed.version(), agreed.selected_alpn_protocol()) == (version.name.replace("_", ".", 1), "http/1.1")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("ciphers", "version"),
    [
        ("ALL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_1),
        ("ECDHE+AES+SHA256:!AESGCM", ssl.TLSVersion.TLSv1_2),  # CBC
    ],
)
async def test_older_protocols_and_weaker_ciphers_are_refused(
    start_edge: StartEdge,
    start_upstream: StartUpstream,
    certificates: Certificates,
    ciphers: str,
    version: ssl.TLSVersion,
) -> None:
    certificates.put("one.test")
    edge = await start_edge(table(await start_upstream(show)), **HOSTS)
    context = certificates.authority.client()
    context.set_ciphers(ciphers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    with pytest.raises(ConnectionResetError):  # it is the edge that refuses
        await leaf(edge.tls_port, "one.test", context)


async def test_a_session_is_resumed(
    start_edge: StartEdge, start_upstream: StartUpstream, certificates: Certificates
) -> None:
    certificates.put("one.test")
    edge = await start_edge(table(await start_upstream(show)), **HOSTS)

    def twice() -> list[bool | None]:
        import socket

        context, session, reused = certificates.authority.client(), None, []
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", edge.tls_port), timeout=20) as plain,
                context.wrap_socket(plain, server_hostname="one.test", session=session) as sock,
            ):
                sock.sendall(b"GET /health HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n")
                while sock.recv(4096):
                    pass
                session, reused = sock.session, [*reused, sock.session_reused]
        return reused

    assert await asyncio.to_thread(twice) == [False, True]


async def location(edge: Edge, target: str, host: str, **headers: str) -> tuple[int, str | None]:
    """Of plain HTTP."""
    sent = {"Host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with edge.client.get(target, headers=sent, allow_redirects=False) as response:
        return response.status, response.headers.get("Location")


async def test_plain_http_on_a_tls_domain_is_sent_to_https_for_good(
    start_edge: StartEdge, start_upstream: StartUpstream, certificates: Certificates
) -> None:
    for name in ("one.test", "*.three.test"):
        certificates.put(name)
    edge = await start_edge(
        table(await start_upstream(show)), TRUSTED_PROXIES="127.0.0.1/32", PUBLIC_URL="https://one.test", **HOSTS
    )
    assert await location(edge, "/x?y=1&z=%20a", "one.test") == (301, "https://one.test/x?y=1&z=%20a")
    assert await location(edge, "/x", f"A.three.test:{edge.port}") == (301, "https://a.three.test/x")
    # No certificate of ours, a probe, and a proxy that has ended TLS itself.
    assert await location(edge, "/x", "two.test") == (200, None)
    assert await location(edge, "/health", "one.test") == (200, None)
    assert await location(edge, "/x", "one.test", X_Forwarded_Proto="https") == (200, None)
    assert await location(edge, "/x", "one.test", X_Forwarded_Proto="http") == (301, "https://one.test/x")
    assert await location(edge, "/x", "stranger.test") == (421, None)


@pytest.mark.parametrize(
    ("settings", "port"),
    [({}, ":8443"), ({"EDGE_TLS_PORT": "443"}, ""), ({"PUBLIC_URL": "https://one.test:9443"}, ":9443")],
)
async def test_the_redirect_names_the_port_that_clients_know(
    start_edge: StartEdge,
    start_upstream: StartUpstream,
    certificates: Certificates,
    settings: dict[str, str],
    port: str,
) -> None:
    certificates.put("one.test")
    edge = await start_edge(table(await start_upstream(show)), **HOSTS, **settings)
    assert await location(edge, "/", "one.test") == (301, f"https://one.test{port}/")


async def test_without_certificates_everything_is_as_it_was(
    start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    edge = await start_edge(table(await start_upstream(show)), **HOSTS)
    assert edge.tls_port == 0
    assert await location(edge, "/x", "one.test") == (200, None)


async def test_certbots_layout_is_read_where_tls_certificates_points(
    start_edge: StartEdge, start_upstream: StartUpstream, certificates: Certificates, tmp_path: Path
) -> None:
    chain, key = certificates.put("one.test")
    live = tmp_path / "live" / "one.test"
    live.mkdir(parents=True)
    chain.rename(live / "fullchain.pem")
    key.rename(live / "privkey.pem")
    edge = await start_edge(table(await start_upstream(show)), TLS_CERTIFICATES=str(tmp_path / "live"), **HOSTS)
    connector = TCPConnector(ssl=certificates.authority.client())
    async with ClientSession(connector=connector) as client:
        url = f"https://127.0.0.1:{edge.tls_port}/"
        async with client.get(url, server_hostname="one.test", headers={"Host": "one.test"}) as response:
            assert response.status == 200
