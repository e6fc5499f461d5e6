"""What stands in front does its part and no more: one suite for nginx and Caddy, both running for real."""

import asyncio
import contextlib
import io
import socket
import ssl
import subprocess
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientConnectorSSLError, WSMsgType, web
from cryptography import x509
from cryptography.x509.oid import NameOID

from ops.front import Front, render
from tests.edge.conftest import StartUpstream
from tests.ops.front.conftest import DOMAINS, Answer, Running, StartFront, caddy_command
from tests.tools import tool

StartBoth = Callable[..., Awaitable[Running]]
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-xss-protection": "1; mode=block",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "referrer-policy": "no-referrer",
}
ENVELOPE = {"success", "error", "message", "statusCode", "timestamp", "path", "method", "requestId"}
NOBODY = "127.0.0.1:9"


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    """What arrived, as JSON; `/status/503` and the like answer that status."""
    status = int(request.path.rpartition("/")[2]) if request.path.startswith("/status/") else 200
    size = len(await request.read())
    headers = {name.lower(): request.headers.getall(name) for name in request.headers}
    return web.json_response({"headers": headers, "peer": request.remote, "size": size}, status=status)


def assert_own_envelope(answer: Answer, status: int, error: str, path: str) -> None:
    assert answer.status == status
    assert answer.all("content-type") == ["application/json"]
    said = answer.json()
    assert set(said) == ENVELOPE
    assert (said["statusCode"], said["error"], said["path"], said["method"]) == (status, error, path, "GET")
    assert answer.all("x-request-id") == [said["requestId"]]
    assert said["timestamp"][10] == "T"
    assert {name: answer.all(name) for name in SECURITY} == {name: [value] for name, value in SECURITY.items()}


# TLS, names, redirects


@pytest.mark.parametrize("host", ["api.example.com", "one.tenants.example.com", "www.example.org"])
async def test_plain_http_is_sent_to_https_for_every_domain(start_front: StartFront, host: str) -> None:
    front = await start_front(NOBODY)
    answer = await front.raw(
        f"GET /x?y=1&z=%20a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode(), tls=False
    )
    assert (answer.status, answer.all("location")) == (301, [f"https://{host}/x?y=1&z=%20a"])
    assert {name: answer.all(name) for name in SECURITY} == {name: [value] for name, value in SECURITY.items()}


async def handshake(front: Running, version: ssl.TLSVersion) -> tuple[str | None, str | None]:
    """The version and application protocol agreed on. Raises OSError (ssl.SSLError is one) when there is none."""
    context = ssl.create_default_context(cafile=front.folder / "ca.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.set_ciphers("ALL:@SECLEVEL=0")  # or this end would refuse TLS 1.1 by itself
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", front.https_port, ssl=context, server_hostname="api.example.com"
        )
    agreed: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    return agreed.version(), agreed.selected_alpn_protocol()


async def test_tls_1_2_and_1_3_are_spoken_with_http_2_and_1_1_is_refused(
    start_front: StartFront, authority: Any
) -> None:
    front = await start_front(NOBODY)
    (front.folder / "ca.pem").write_bytes(authority.root.read_bytes())
    assert await handshake(front, ssl.TLSVersion.TLSv1_2) == ("TLSv1.2", "h2")
    assert await handshake(front, ssl.TLSVersion.TLSv1_3) == ("TLSv1.3", "h2")
    with pytest.raises(OSError, match=r"(?i)alert|protocol"):
        await handshake(front, ssl.TLSVersion.TLSv1_1)


async def test_each_domain_gets_its_own_certificate(start_front: StartFront) -> None:
    front = await start_front(NOBODY)
    for domain in DOMAINS:
        name = domain.replace("*", "any")
        _, writer = await asyncio.open_connection(
            "127.0.0.1", front.https_port, ssl=front.context, server_hostname=name
        )
        shown = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.close()
        assert shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == domain


async def test_every_domain_and_a_wildcards_subdomain_reach_the_edge(
    start_both: StartBoth, start_upstream: StartUpstream
) -> None:
    front = await start_both(await start_upstream(echo))
    for host in ("api.example.com", "some.tenants.example.com", "www.example.org"):
        async with front.client.get(front.url("/x", host)) as response:
            assert response.status == 200
            headers = (await response.json())["headers"]
        assert headers["x-forwarded-host"][0].partition(":")[0] == host


async def test_an_unknown_host_is_misdirected(start_both: StartBoth, start_upstream: StartUpstream) -> None:
    front = await start_both(await start_upstream(echo))
    assert_own_envelope(await front.get("/x?y=1", host="evil.test"), 421, "MisdirectedRequest", "/x")
    plain = await front.raw(b"GET /x HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n", tls=False)
    assert_own_envelope(plain, 421, "MisdirectedRequest", "/x")


async def test_an_unknown_server_name_gets_nobodys_content(start_front: StartFront) -> None:
    """nginx shows the first domain's certificate, which the client refuses; Caddy ends the handshake."""
    front = await start_front(NOBODY)
    with pytest.raises(OSError, match=r"(?i)certificate|alert"):
        await front.raw(b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", server_name="evil.test")


async def test_a_probe_by_address_is_answered(start_both: StartBoth, start_upstream: StartUpstream) -> None:
    front = await start_both(await start_upstream(echo))
    answer = await front.raw(b"GET /health HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n\r\n", tls=False)
    assert (answer.status, answer.json()["status"]) == (200, "healthy")


# What the edge and the services are told


async def test_the_true_client_and_https_are_told_and_a_clients_own_claims_are_not_believed(
    start_both: StartBoth, start_upstream: StartUpstream
) -> None:
    front = await start_both(await start_upstream(echo))
    lies = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Real-IP": "203.0.113.9",
        "X-Forwarded-Proto": "ftp",
        "X-Forwarded-Host": "evil.test",
        "Forwarded": "for=203.0.113.9",
    }
    sent = "".join(f"{name}: {value}\r\n" for name, value in lies.items())
    request = f"GET /x HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n{sent}\r\n".encode()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", front.https_port, ssl=front.context, server_hostname="api.example.com", local_addr=("127.0.0.7", 0)
    )
    writer.write(request)
    body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    headers = Answer(200, [], body).json()["headers"]
    # 127.0.0.7 is the client; 127.0.0.1 is the front, which the edge trusts and names as a hop.
    assert headers["x-forwarded-for"] == ["127.0.0.7, 127.0.0.1"]
    assert headers["x-real-ip"] == ["127.0.0.7"]
    assert headers["x-forwarded-proto"] == ["https"]
    assert headers["x-forwarded-host"] == headers["host"] == ["api.example.com"]
    assert "forwarded" not in headers


async def test_one_request_id_everywhere(start_both: StartBoth, start_upstream: StartUpstream) -> None:
    front = await start_both(await start_upstream(echo))
    for given in ("my-own-id-1234", None, "not valid!"):
        answer = await front.get("/x", **({"X_Request_ID": given} if given else {}))
        [told] = answer.all("x-request-id")
        assert answer.json()["headers"]["x-request-id"] == [told]
        assert (told == given) is (given == "my-own-id-1234")


# Answers


@pytest.mark.parametrize("status", [200, 404, 502])
async def test_headers_are_there_exactly_once_whatever_the_edge_answers(
    start_both: StartBoth, start_upstream: StartUpstream, status: int
) -> None:
    front = await start_both(await start_upstream(echo))
    answer = await front.get(f"/status/{status}")
    assert answer.status == status
    for name, value in {**SECURITY, "x-request-id": answer.all("x-request-id")[0]}.items():
        assert answer.all(name) == [value]
    assert len(answer.all("date")) == 1
    # Versions are nobody's business.
    assert not any("/" in value for value in answer.all("server"))


async def test_the_edge_being_down_is_told_in_its_envelope(start_front: StartFront) -> None:
    front = await start_front(NOBODY)
    answer = await front.get("/api/v1/me?secret=1", X_Request_ID="an-id-of-mine")
    assert_own_envelope(answer, 502, "BadGateway", "/api/v1/me")
    assert answer.json()["requestId"] == "an-id-of-mine"


async def test_under_v1_a_failure_has_the_shape_of_openai(start_front: StartFront) -> None:
    front = await start_front(NOBODY)
    answer = await front.get("/v1/chat/completions")
    assert answer.status == 502
    assert answer.json() == {
        "error": {
            "message": "The service behind this address could not be reached",
            "type": "server_error",
            "param": None,
            "code": "BadGateway",
        }
    }


async def test_a_path_cannot_break_out_of_the_envelope(start_front: StartFront) -> None:
    front = await start_front(NOBODY)
    answer = await front.get('/a"},"success":true,"x":{"b')
    assert answer.status == 502
    assert answer.json()["success"] is False
    assert set(answer.json()) == ENVELOPE


async def test_an_edge_that_hangs_is_timed_out(start_front: StartFront) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        front = await start_front(f"127.0.0.1:{silent.getsockname()[1]}", silence_seconds=1)
        answer = await front.get("/slow")
    assert_own_envelope(answer, 504, "GatewayTimeout", "/slow")


async def test_what_cannot_be_read_is_refused(start_front: StartFront) -> None:
    front = await start_front(NOBODY)
    huge = await front.raw(b"GET / HTTP/1.1\r\nHost: api.example.com\r\nX-Huge: " + b"a" * 2_000_000 + b"\r\n\r\n")
    assert huge.status == 431
    if front.kind == "nginx":
        assert huge.json()["error"] == "HeadersTooLarge"
        malformed = await front.raw(b"GET / HTTP/1.1\r\nHost: api.example.com\r\nno colon\r\n\r\n")
        assert (malformed.status, malformed.json()["error"]) == (400, "BadRequest")


# Bodies, streams, upgrades


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused_by_the_edge(
    start_both: StartBoth, start_upstream: StartUpstream, chunked: bool
) -> None:
    front = await start_both(await start_upstream(echo), EDGE_BODY_BYTES_MAX="100000")
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 122880"
    body = (b"1000\r\n%b\r\n" % (b"x" * 4096)) * 30 + b"0\r\n\r\n" if chunked else b"x" * 122_880
    head = f"POST /upload HTTP/1.1\r\nHost: api.example.com\r\nX-Request-ID: too-large-1\r\n{framing}\r\n\r\n"
    answer = await front.raw(head.encode() + body)
    assert (answer.status, answer.json()["error"]) == (413, "PayloadTooLarge")
    assert answer.all("x-request-id") == ["too-large-1"]


@pytest.mark.parametrize("kind", ["nginx"])  # Caddy reads an HTTP/1.1 request to its end before it answers
async def test_a_body_that_will_be_too_large_is_refused_before_it_is_sent(
    start_both: StartBoth, start_upstream: StartUpstream, kind: str
) -> None:
    front = await start_both(await start_upstream(echo))
    answer = await front.raw(b"POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 4000000\r\n\r\nbegun")
    assert (answer.status, answer.json()["error"]) == (413, "PayloadTooLarge")


async def test_a_large_body_within_the_edges_limit_passes(start_both: StartBoth, start_upstream: StartUpstream) -> None:
    async def count(request: web.BaseRequest) -> web.StreamResponse:
        size = 0
        async for chunk in request.content.iter_chunked(65536):
            size += len(chunk)
        return web.json_response({"size": size})

    front = await start_both(await start_upstream(count), EDGE_BODY_BYTES_MAX=str(64 * 1024 * 1024))
    async with front.client.post(front.url("/upload"), data=io.BytesIO(b"x" * 20_000_000)) as response:
        assert (await response.json()) == {"size": 20_000_000}


async def test_events_are_not_held_back(start_both: StartBoth, start_upstream: StartUpstream) -> None:
    seen = asyncio.Event()

    async def events(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        async with asyncio.timeout(10):
            await seen.wait()  # only set by who has read the first one
        await response.write(b"data: second\n\n")
        return response

    front = await start_both(await start_upstream(events))
    async with asyncio.timeout(15), front.client.get(front.url("/events")) as response:
        assert await response.content.readuntil(b"\n\n") == b"data: first\n\n"
        seen.set()
        assert await response.content.read() == b"data: second\n\n"


async def test_a_client_that_leaves_frees_the_upstream(start_both: StartBoth, start_upstream: StartUpstream) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("never")

    front = await start_both(await start_upstream(endless))
    _, writer = await asyncio.open_connection(
        "127.0.0.1", front.https_port, ssl=front.context, server_hostname="api.example.com"
    )
    writer.write(b"GET /wait HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    async with asyncio.timeout(10):
        await started.wait()
    writer.transport.abort()
    async with asyncio.timeout(2):
        await ended.wait()


async def test_a_websocket_passes_frames_both_ways(start_front: StartFront, start_upstream: StartUpstream) -> None:
    """The edge relays none yet; what stands in front is ready for it."""

    async def talk(request: web.BaseRequest) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_str("hello")
        async for message in websocket:
            await websocket.send_str(f"you said {message.data}")
        return websocket

    front = await start_front(await start_upstream(talk))
    async with asyncio.timeout(15), front.client.ws_connect(front.url("/ws")) as websocket:
        assert (await websocket.receive()).data == "hello"
        await websocket.send_str("this")
        answer = await websocket.receive()
        assert (answer.type, answer.data) == (WSMsgType.TEXT, "you said this")


async def test_connections_to_the_edge_are_used_again(start_front: StartFront, start_upstream: StartUpstream) -> None:
    peers: set[Any] = set()

    async def whoami(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport
        peers.add(request.transport.get_extra_info("peername"))
        assert request.version == (1, 1)
        assert request.headers.get("Connection", "") != "close"
        return web.json_response({})

    front = await start_front(await start_upstream(whoami))
    for _ in range(20):
        async with front.client.get(front.url("/x")) as response:
            assert response.status == 200
    # One for each of nginx's workers at most.
    assert len(peers) <= 4


# One of them alone


@pytest.mark.parametrize("kind", ["nginx"])  # Caddy logs no requests unless told to
async def test_health_is_not_logged(start_both: StartBoth, start_upstream: StartUpstream, kind: str) -> None:
    front = await start_both(await start_upstream(echo))
    for path in ["/health"] * 100 + ["/seen"]:
        async with front.client.get(front.url(path)) as response:
            assert response.status == 200
    assert ["/seen" in line for line in front.log()] == [True]


@pytest.mark.parametrize("kind", ["nginx"])  # Caddy answers its challenges by itself
async def test_challenges_are_answered_on_port_80(start_front: StartFront, kind: str) -> None:
    front = await start_front(NOBODY)
    folder = front.folder / "webroot" / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True)
    (folder / "token").write_text("token.thumbprint")
    request = b"GET /.well-known/acme-challenge/%b HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n"
    answer = await front.raw(request % b"token", tls=False)
    assert (answer.status, answer.body) == (200, b"token.thumbprint")
    missing = await front.raw(request % b"other", tls=False)
    assert_own_envelope(missing, 404, "NotFound", "/.well-known/acme-challenge/other")


async def until_certified(front: Running) -> None:
    """It listens before it has made its certificates."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(ClientConnectorSSLError):
                async with front.client.get(front.url("/x"), ssl=False) as response:
                    assert response.status == 200
                    return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["caddy"])  # nginx makes no certificates
async def test_caddy_has_an_authority_of_its_own_where_no_other_is_reachable(
    start_front: StartFront, start_upstream: StartUpstream, kind: str
) -> None:
    front = await start_front(await start_upstream(echo), certificates="", authority="internal")
    root = front.folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    await until_certified(front)
    trusting = ssl.create_default_context(cafile=root)
    async with front.client.get(front.url("/x"), ssl=trusting) as response:
        assert (await response.json())["headers"]["x-forwarded-proto"] == ["https"]


def test_caddy_takes_the_configuration_with_automatic_certificates(tmp_path: Any) -> None:
    front = Front(domains=DOMAINS, certificates="", email="ops@example.com", authority="https://acme.test/directory")
    command = caddy_command(front, tmp_path)
    adapted = subprocess.run(
        [command[0], "adapt", *command[2:], "--validate"],
        capture_output=True, text=True, timeout=30, check=False, env={"HOME": str(tmp_path)},
    )  # fmt: skip
    assert adapted.returncode == 0, adapted.stderr
    for expected in ("ops@example.com", "https://acme.test/directory", "127.0.0.1:8080"):
        assert expected in adapted.stdout


def test_nginx_takes_the_first_configuration_before_there_are_certificates(tmp_path: Any) -> None:
    nginx = tool("nginx")
    front = Front(domains=DOMAINS, challenge_only=True, http_port=0x7000, webroot=str(tmp_path), ipv6=False)
    site, config = tmp_path / "site.conf", tmp_path / "nginx.conf"
    site.write_text(render("nginx", front))
    config.write_text(render("nginx/nginx.conf.j2", front, scratch=tmp_path, site=site, access_log=tmp_path / "log"))
    checked = subprocess.run([nginx, "-t", "-c", config], capture_output=True, text=True, timeout=30, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "ssl" not in site.read_text()


def test_newer_nginx_is_told_of_http_2_in_its_own_words() -> None:
    old, new = (render("nginx", Front(domains=DOMAINS, nginx=version)) for version in ((1, 22, 1), (1, 29)))
    assert "listen 443 ssl http2;" in old
    assert "http2 on;" not in old
    assert "listen 443 ssl;" in new
    assert new.count("http2 on;") == len(DOMAINS) + 1
    assert "listen 443 quic" in new


def test_a_front_without_domains_is_refused() -> None:
    with pytest.raises(ValueError, match="DOMAINS must be set"):
        render("nginx", Front(domains=()))
