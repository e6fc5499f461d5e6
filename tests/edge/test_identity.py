"""Who gets through the edge and who does not, with the real auth and core services behind it."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import jwt
import pytest
from aiohttp import WSServerHandshakeError, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import edge as edge_package
from auth_service.app import create_app as create_auth
from auth_service.settings import AuthSettings
from auth_service.signing.keyring import KEYRING
from common import api_keys, usage
from common.errors import ServiceUnavailable
from common.http1 import Pool
from common.metrics import METRICS
from common.settings import load
from common.valkey import connect
from common.worker import Worker
from core_service.app import create_app as create_core
from core_service.settings import CoreSettings
from edge.identity.auth_client import AuthClient, Revocation
from edge.identity.revocations import Revocations
from tests.auth_service.client import cheap_hasher
from tests.edge.conftest import KEYS, Edge, StartEdge, StartUpstream

PASSWORD = "correct horse battery"
ROUTES = (Path(edge_package.__file__).parent / "routes.toml").read_text()


@dataclass
class Platform:
    """Auth and core on free ports; `auth` can be stopped."""

    environ: dict[str, str]
    auth: web.AppRunner
    auth_app: web.Application

    async def signed(self, claims: dict[str, Any], **header: Any) -> str:
        """A token signed with the service's own key, whatever it says."""
        key = await self.auth_app[KEYRING].signing()
        return jwt.encode(claims, key.private, "EdDSA", headers={"typ": "at+jwt", "kid": key.kid, **header})


@pytest.fixture
async def platform(database_url: str, clean_redis_url: str, unused_tcp_port: int) -> AsyncIterator[Platform]:
    environ = {
        **KEYS,
        "DATABASE_URL": database_url,
        "REDIS_URL": clean_redis_url,
        "SECRET_KEY": "a secret of the tests, long enough to be one",
        "KEY_PEPPER": "the pepper of the tests",
        "AUTH_URL": f"http://127.0.0.1:{unused_tcp_port}",
        "LIMIT_GENERAL": "1000/60",
        "LIMIT_AUTH": "1000/60",
    }
    auth_app = create_auth(load(AuthSettings, environ), runtime=Worker(), hasher=cheap_hasher())
    auth = web.AppRunner(auth_app, access_log=None)
    await auth.setup()
    await web.TCPSite(auth, "127.0.0.1", unused_tcp_port).start()
    core = web.AppRunner(create_core(load(CoreSettings, environ), runtime=Worker()), access_log=None)
    await core.setup()
    await web.TCPSite(core, "127.0.0.1", 0).start()
    environ["CORE_URL"] = f"http://127.0.0.1:{core.addresses[0][1]}"
    yield Platform(environ, auth, auth_app)
    await core.cleanup()
    await auth.cleanup()


@pytest.fixture
async def edge(platform: Platform, start_edge: StartEdge) -> Edge:
    return await start_edge(ROUTES, **platform.environ)


async def call(edge: Edge, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
    async with edge.client.request(method, path, json=body, headers=headers) as response:
        return response.status, json.loads(await response.read() or b"{}")


async def sign_up(edge: Edge) -> tuple[str, dict[str, Any]]:
    """A new account's address and what its login answers."""
    email = f"{uuid4().hex}@example.com"
    status, _ = await call(edge, "POST", "/api/v1/auth/register", {"email": email, "password": PASSWORD})
    assert status == 201
    status, body = await call(edge, "POST", "/api/v1/auth/login", {"email": email, "password": PASSWORD})
    assert status == 200
    return email, body["data"]


async def status_of(edge: Edge, authorization: str, path: str = "/api/v1/me") -> int:
    return (await call(edge, "GET", path, Authorization=authorization))[0]


async def becomes(edge: Edge, authorization: str, status: int, seconds: float = 1.0) -> None:
    """The answer changes to `status` within `seconds`."""
    async with asyncio.timeout(seconds):
        while await status_of(edge, authorization) != status:
            await asyncio.sleep(0.01)


async def test_token_and_key_carry_one_identity_to_both_services(edge: Edge) -> None:
    email, login = await sign_up(edge)
    bearer = f"Bearer {login['accessToken']}"
    status, me = await call(edge, "GET", "/api/v1/me", Authorization=bearer)
    assert (status, me["data"]["user"]["email"]) == (200, email)
    status, created = await call(edge, "POST", "/api/v1/api-keys", {"name": "mine"}, Authorization=bearer)
    assert status == 201
    key = created["data"]["key"]
    for credential in (bearer, f"ApiKey {key}", f"Bearer {key}"):
        status, categories = await call(edge, "GET", "/api/v1/categories", Authorization=credential)
        assert (status, categories["data"]["total"]) == (200, 6)


async def test_forged_tokens_are_401(edge: Edge, platform: Platform) -> None:
    _, login = await sign_up(edge)
    token = login["accessToken"]
    header, payload, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    stranger = Ed25519PrivateKey.generate()
    public = (await platform.auth_app[KEYRING].public())[0].raw

    def part(value: Any) -> str:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    good_header = {"alg": "EdDSA", "typ": "at+jwt", "kid": kid}
    duplicate = part(b'{"alg":"EdDSA","typ":"at+jwt","kid":"x","kid":' + json.dumps(kid).encode() + b"}")
    forged = {
        "alg none": f"{part(good_header | {'alg': 'none'})}.{payload}.",
        "alg swap": jwt.encode(claims, public, "HS256", headers={"typ": "at+jwt", "kid": kid}),
        "changed payload": f"{header}.{part(claims | {'role': 'owner'})}.{signature}",
        "another key": jwt.encode(claims, stranger, "EdDSA", headers={"typ": "at+jwt", "kid": kid}),
        "unknown kid": jwt.encode(claims, stranger, "EdDSA", headers={"typ": "at+jwt", "kid": "unknown"}),
        "typ": await platform.signed(claims, typ="JWT"),
        "jku": await platform.signed(claims, jku="http://127.0.0.1/keys"),
        "crit": await platform.signed(claims, crit=["b64"], b64=True),
        "duplicate header key": f"{duplicate}.{payload}.{signature}",
        "not canonical": token[:-1] + chr(ord(token[-1]) + 1),
        "aud": await platform.signed(claims | {"aud": "another"}),
        "iss": await platform.signed(claims | {"iss": "another"}),
        "no sid": await platform.signed({k: v for k, v in claims.items() if k != "sid"}),
        "sub is no user": await platform.signed(claims | {"sub": "root"}),
        "role with a line end": await platform.signed(claims | {"role": "user\r\nX-Gatehouse-Role: admin"}),
        "too long": await platform.signed(claims | {"pad": "x" * 9000}),
        "two parts": f"{header}.{payload}",
        "refresh token": login["refreshToken"],
        "nothing": "",
    }
    assert await status_of(edge, f"Bearer {await platform.signed(claims)}") == 200  # the forger's tools do work
    for name, value in forged.items():
        status, body = await call(edge, "GET", "/api/v1/me", Authorization=f"Bearer {value}")
        assert (status, body["error"]) == (401, "Unauthorized"), name
    for value in ("Basic YTpi", "ApiKey nonsense", "ApiKey sk_live_" + "a" * 36):
        assert await status_of(edge, value) == 401


async def test_expired_token_is_told_apart(edge: Edge, platform: Platform) -> None:
    _, login = await sign_up(edge)
    claims = jwt.decode(login["accessToken"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 1800
    for age, error in ((6, "TokenExpired"), (3, None)):
        token = await platform.signed(claims | {"exp": int(time.time()) - age})
        status, body = await call(edge, "GET", "/api/v1/me", Authorization=f"Bearer {token}")
        assert (status, body.get("error")) == ((401, error) if error else (200, None))


async def test_logout_and_revoked_key_are_refused_by_every_edge_within_a_second(
    edge: Edge, platform: Platform, start_edge: StartEdge
) -> None:
    other = await start_edge(ROUTES, **platform.environ)
    _, login = await sign_up(edge)
    bearer = f"Bearer {login['accessToken']}"
    _, created = await call(edge, "POST", "/api/v1/api-keys", {"name": "k"}, Authorization=bearer)
    key = f"ApiKey {created['data']['key']}"
    for one in (edge, other):
        assert (await status_of(one, bearer), await status_of(one, key)) == (200, 200)
    status, _ = await call(edge, "DELETE", f"/api/v1/api-keys/{created['data']['id']}", Authorization=bearer)
    assert status == 204
    await asyncio.gather(becomes(edge, key, 401), becomes(other, key, 401))
    assert (await call(edge, "POST", "/api/v1/auth/logout", {}, Authorization=bearer))[0] == 204
    await asyncio.gather(becomes(edge, bearer, 401), becomes(other, bearer, 401))
    status, _ = await call(edge, "POST", "/api/v1/auth/refresh", {"refreshToken": login["refreshToken"]})
    assert status == 401


async def test_revocations_arrive_without_valkey_too(
    edge: Edge, platform: Platform, start_edge: StartEdge, unused_tcp_port: int
) -> None:
    polling = await start_edge(ROUTES, **{**platform.environ, "REDIS_URL": "redis://127.0.0.1:9/0"})
    _, login = await sign_up(edge)
    bearer = f"Bearer {login['accessToken']}"
    assert await status_of(polling, bearer) == 200
    assert (await call(edge, "POST", "/api/v1/auth/logout", {}, Authorization=bearer))[0] == 204
    await becomes(polling, bearer, 401, seconds=1.5)  # polled every second


async def test_auth_down_lets_good_tokens_pass_and_judges_nothing_it_cannot(edge: Edge, platform: Platform) -> None:
    _, login = await sign_up(edge)
    claims = jwt.decode(login["accessToken"], options={"verify_signature": False})
    categories = "/api/v1/categories"
    assert await status_of(edge, f"Bearer {login['accessToken']}", categories) == 200
    never_seen = await platform.signed(claims | {"jti": str(uuid4())})
    forged = never_seen[:-8] + "AAAAAAAA"
    await platform.auth.cleanup()
    assert await status_of(edge, f"Bearer {never_seen}", categories) == 200
    assert await status_of(edge, f"Bearer {forged}", categories) == 401
    assert await status_of(edge, f"ApiKey {api_keys.make()}", categories) == 503
    status, body = await call(edge, "GET", "/api/v1/me", Authorization=f"Bearer {login['accessToken']}")
    assert (status, body["error"]) == (502, "BadGateway")


async def test_edge_that_never_reached_auth_says_503_not_401(
    platform: Platform, start_edge: StartEdge, edge: Edge
) -> None:
    _, login = await sign_up(edge)
    await platform.auth.cleanup()
    fresh = await start_edge(ROUTES, **platform.environ)
    status, body = await call(fresh, "GET", "/api/v1/categories", Authorization=f"Bearer {login['accessToken']}")
    assert (status, body["error"]) == (503, "ServiceUnavailable")


async def test_changed_tier_changes_the_limit_that_headers_show(edge: Edge, database_url: str) -> None:
    _, login = await sign_up(edge)

    async def limit(token: str) -> str:
        async with edge.client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}) as response:
            return response.headers["X-RateLimit-Limit"]

    assert await limit(login["accessToken"]) == "1000"
    connection = await asyncpg.connect(database_url)
    organization = UUID(login["user"]["organizationId"])
    await connection.execute("UPDATE auth.organizations SET tier = 'pro' WHERE id = $1", organization)
    await connection.close()
    status, body = await call(edge, "POST", "/api/v1/auth/refresh", {"refreshToken": login["refreshToken"]})
    assert status == 200
    assert await limit(body["data"]["accessToken"]) == "10000"


async def test_sixth_login_attempt_is_refused_even_when_right(platform: Platform, start_edge: StartEdge) -> None:
    edge = await start_edge(ROUTES, **{**platform.environ, "LIMIT_AUTH": "5/900", "TRUSTED_PROXIES": "127.0.0.1"})
    email = f"{uuid4().hex}@example.com"
    here, there = "203.0.113.1", "203.0.113.2"

    async def attempt(path: str, password: str, address: str) -> tuple[int, dict[str, Any]]:
        body = {"email": email, "password": password}
        return await call(edge, "POST", f"/api/v1/auth/{path}", body, **{"X-Forwarded-For": address})

    assert (await attempt("register", PASSWORD, "203.0.113.3"))[0] == 201
    for _ in range(5):
        assert (await attempt("login", "wrong", here))[0] == 401
    status, body = await attempt("login", PASSWORD, here)
    assert (status, body["error"]) == (429, "TooManyRequests")
    assert (await attempt("login", PASSWORD, there))[0] == 200


async def test_refused_credentials_count_against_the_address(platform: Platform, start_edge: StartEdge) -> None:
    edge = await start_edge(ROUTES, **{**platform.environ, "LIMIT_GENERAL": "3/60"})
    seen = []
    for _ in range(4):
        async with edge.client.get("/api/v1/me", headers={"Authorization": "Bearer a.b.c"}) as response:
            seen.append((response.status, response.headers["X-RateLimit-Remaining"]))
    assert seen == [(401, "2"), (401, "1"), (401, "0"), (429, "0")]


async def test_general_limit_counts_the_user_over_token_and_key(platform: Platform, start_edge: StartEdge) -> None:
    edge = await start_edge(ROUTES, **{**platform.environ, "LIMIT_GENERAL": "4/60"})
    _, first = await sign_up(edge)
    bearer = f"Bearer {first['accessToken']}"
    _, created = await call(edge, "POST", "/api/v1/api-keys", {"name": "k"}, Authorization=bearer)
    key = f"ApiKey {created['data']['key']}"
    assert [await status_of(edge, credential) for credential in (bearer, key, bearer, key)] == [200, 200, 200, 429]
    # Same address, another user. (Their sign-up used up what the address has as an anonymous caller.)
    _, second = await sign_up(edge)
    assert await status_of(edge, f"Bearer {second['accessToken']}") == 200


async def test_key_has_its_own_limit_beside_its_owners(edge: Edge, database_url: str) -> None:
    _, login = await sign_up(edge)
    bearer = f"Bearer {login['accessToken']}"
    _, created = await call(edge, "POST", "/api/v1/api-keys", {"name": "k"}, Authorization=bearer)
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "UPDATE auth.api_keys SET limit_count = 2, limit_seconds = 60 WHERE id = $1", UUID(created["data"]["id"])
    )
    await connection.close()
    key = f"ApiKey {created['data']['key']}"
    assert [await status_of(edge, key) for _ in range(3)] == [200, 200, 429]
    assert await status_of(edge, bearer) == 200


async def test_viewer_may_look_but_not_write(edge: Edge, platform: Platform) -> None:
    _, login = await sign_up(edge)
    claims = jwt.decode(login["accessToken"], options={"verify_signature": False})
    viewer = f"Bearer {await platform.signed(claims | {'role': 'viewer'})}"
    assert await status_of(edge, viewer, "/api/v1/categories") == 200
    status, body = await call(edge, "POST", "/api/v1/categories", {"name": "x"}, Authorization=viewer)
    assert (status, body["error"]) == (403, "Forbidden")


async def test_deleted_account_is_out_at_once_and_its_rows_are_purged(edge: Edge, database_url: str) -> None:
    _, login = await sign_up(edge)
    bearer = f"Bearer {login['accessToken']}"
    assert await status_of(edge, bearer, "/api/v1/categories") == 200
    assert (await call(edge, "DELETE", "/api/v1/me", Authorization=bearer))[0] == 204
    await becomes(edge, bearer, 401)
    connection = await asyncpg.connect(database_url)
    user = UUID(login["user"]["id"])
    async with asyncio.timeout(5):
        while await connection.fetchval("SELECT count(*) FROM core.categories WHERE user_id = $1", user):
            await asyncio.sleep(0.05)
    await connection.close()


async def test_every_call_of_a_known_caller_is_one_usage_record(edge: Edge, platform: Platform) -> None:
    _, login = await sign_up(edge)  # anonymous calls: nobody's usage
    bearer = f"Bearer {login['accessToken']}"
    assert [await status_of(edge, bearer, "/api/v1/categories") for _ in range(3)] == [200] * 3
    assert await status_of(edge, bearer, f"/api/v1/categories/{uuid4()}") == 404
    assert await status_of(edge, "Bearer forged") == 401
    client = connect(platform.environ["REDIS_URL"])
    async with asyncio.timeout(5):
        while not (entries := await client.xrange(usage.STREAM)):
            await asyncio.sleep(0.05)
    metrics = edge.runtime.metrics.registry
    async with asyncio.timeout(5):
        while metrics.get_sample_value("usage_records_total", {"outcome": "appended"}) != 4:
            await asyncio.sleep(0.05)
    await client.aclose()
    read = usage.decode(entries[0][1][usage.FIELD])
    assert (str(read.user), str(read.org)) == (login["user"]["id"], login["user"]["organizationId"])


async def test_health_through_the_edge_names_the_culprit(edge: Edge, platform: Platform) -> None:
    status, body = await call(edge, "GET", "/health/ready")
    assert (status, body["status"]) == (200, "ready")
    assert body["checks"] == dict.fromkeys(("auth", "core", "database", "redis"), "healthy")
    assert (await call(edge, "GET", "/health/db"))[1] == {"success": True, "status": "healthy", "database": "connected"}
    await platform.auth.cleanup()
    async with asyncio.timeout(3):
        while (await call(edge, "GET", "/health/ready"))[0] != 503:
            await asyncio.sleep(0.05)
    status, body = await call(edge, "GET", "/health/ready")
    assert (status, body["status"], body["checks"]["auth"]) == (503, "unavailable", "unhealthy")
    assert (await call(edge, "GET", "/health"))[0] == 200


async def test_address_that_guesses_keys_stops_costing_look_ups(platform: Platform, start_edge: StartEdge) -> None:
    edge = await start_edge(ROUTES, **{**platform.environ, "LIMIT_GENERAL": "10/60"})
    metrics = platform.auth_app[METRICS].registry

    def look_ups() -> float:
        labels = {"service": "auth", "route": "/internal/keys/resolve", "method": "POST", "status": "401"}
        return metrics.get_sample_value("http_requests_total", labels) or 0

    statuses = [await status_of(edge, f"ApiKey {api_keys.make()}") for _ in range(30)]
    assert statuses == [401] * 10 + [429] * 20
    assert look_ups() <= 11


async def test_wrong_service_key_is_not_blamed_on_the_client(platform: Platform, start_edge: StartEdge) -> None:
    edge = await start_edge(ROUTES, **{**platform.environ, "AUTH_SERVICE_KEY": "another " + "x" * 40})
    assert await status_of(edge, f"ApiKey {api_keys.make()}") == 503


async def test_page_that_fails_does_not_undo_what_the_page_before_revoked() -> None:
    pages = [([Revocation(1, "session", uuid4(), None, time.time() + 60)], 2)]

    class Auth:
        async def revocations(self, after: int) -> tuple[list[Revocation], int]:
            if not pages:
                raise ServiceUnavailable
            return pages.pop()

    forgotten: list[Any] = []
    revocations = Revocations(Auth())  # type: ignore[arg-type]
    revocations.on_change.append(forgotten.append)
    assert not await revocations.read()
    assert len(forgotten) == 1
    assert revocations.is_failing


async def test_unreadable_answers_of_auth_are_503(start_raw_upstream: Any) -> None:
    for body in (b"[]", b"{}", b'{"data": null}', b'{"keys": null, "data": {"items": [{}], "latest": 1}}', b"\xff"):

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes = body) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()

        pool = Pool(await start_raw_upstream(answer))
        client = AuthClient({"auth": pool}, "key")
        for ask in (client.jwks, partial(client.resolve_key, "k"), partial(client.revocations, 0)):
            with pytest.raises(ServiceUnavailable):
                await ask()
        await pool.close()


async def test_websocket_takes_the_token_of_a_browser_among_its_subprotocols(
    platform: Platform, start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    async def greet(request: web.BaseRequest) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("chat",))
        await socket.prepare(request)
        names = ("Authorization", "Sec-WebSocket-Protocol", "X-Gatehouse-User")
        await socket.send_json({name: request.headers.getall(name, []) for name in names})
        return socket

    url = await start_upstream(greet)
    edge = await start_edge(
        f'{ROUTES}\n[upstream.it]\nservers = ["{url}"]\nservice_key = "its key"\n'
        '[[route]]\npath = "/ws"\nupstream = "it"\nwebsocket = true\n',
        **platform.environ,
    )
    _, login = await sign_up(edge)
    bearer = f"Bearer {login['accessToken']}"
    _, created = await call(edge, "POST", "/api/v1/api-keys", {"name": "mine"}, Authorization=bearer)

    async def greeted(*protocols: str, **headers: str) -> tuple[str | None, dict[str, list[str]]]:
        async with edge.client.ws_connect("/ws", protocols=protocols, headers=headers) as socket:
            return socket.protocol, await socket.receive_json(timeout=5)

    for chosen, offered, headers in (
        ("chat", ["chat"], {"Authorization": bearer}),
        ("chat", ["bearer", login["accessToken"], "chat"], {}),
        ("chat", ["chat", "bearer", created["data"]["key"]], {}),
        ("bearer", ["bearer", login["accessToken"]], {}),
    ):
        protocol, seen = await greeted(*offered, **headers)
        assert protocol == chosen
        assert seen["Authorization"] == ["ApiKey its key"]
        assert seen["Sec-WebSocket-Protocol"] == (["chat"] if "chat" in offered else [])
        assert len(seen["X-Gatehouse-User"]) == 1
    for offered in ([], ["bearer"], ["bearer", "not.a.token"], ["chat", login["accessToken"]]):
        with pytest.raises(WSServerHandshakeError) as refused:
            await greeted(*offered)
        assert refused.value.status == 401
    asked = {"Sec-WebSocket-Protocol": f"bearer, {login['accessToken']}"}
    assert (await call(edge, "GET", "/ws", **asked))[0] == 401  # no WebSocket, no credential
