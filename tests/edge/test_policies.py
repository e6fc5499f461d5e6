"""What the edge adds, refuses and hides, whatever stands behind it."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from common import api_keys
from tests.edge.conftest import Runtime, StartEdge, StartUpstream, table

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "1; mode=block",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Referrer-Policy": "no-referrer",
}
ENVELOPE = {"success", "error", "message", "statusCode", "timestamp", "path", "method", "requestId"}


async def show_headers(request: web.BaseRequest) -> web.Response:
    return web.json_response([[name, value] for name, value in request.headers.items()])


def named(pairs: list[list[str]], name: str) -> list[str]:
    return [value for key, value in pairs if key.lower() == name.lower()]


async def test_security_headers_and_id_on_every_class_of_answer(
    start_edge: StartEdge, start_upstream: StartUpstream, unused_tcp_port: int
) -> None:
    async def status(request: web.BaseRequest) -> web.Response:
        return web.Response(status=int(request.path.rpartition("/")[2]))

    dead = f'[upstream.dead]\nservers = ["http://127.0.0.1:{unused_tcp_port}"]\n' + (
        '[[route]]\npath = "/dead"\nupstream = "dead"\nauth = "none"\nlimits = []\n'
    )
    edge = await start_edge(table(await start_upstream(status), "/status") + dead)
    for path, expected in (
        ("/status/200", 200),
        ("/status/404", 404),
        ("/status/500", 500),
        ("/no", 404),
        ("/dead", 502),
    ):
        async with edge.client.get(path) as response:
            assert response.status == expected
            assert {name: response.headers[name] for name in SECURITY} == SECURITY
            assert re.fullmatch(r"req_\d{10}_[0-9a-f]+", response.headers["X-Request-ID"])


async def test_good_request_id_is_kept_and_a_bad_one_replaced(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(show_headers)))
    async with edge.client.get("/", headers={"X-Request-ID": "my-request.0001"}) as response:
        assert response.headers["X-Request-ID"] == "my-request.0001"
        assert named(await response.json(), "X-Request-ID") == ["my-request.0001"]
    async with edge.client.get("/", headers={"X-Request-ID": "bad id!"}) as response:
        assert response.headers["X-Request-ID"].startswith("req_")


@pytest.mark.parametrize(
    ("raw", "status", "error"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad header\r\n\r\n", 400, "BadRequest"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "BadRequest"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "BadRequest"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400, "BadRequest"),
        (b"NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "BadRequest"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "BadRequest"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "HeadersTooLarge"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431, "HeadersTooLarge"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 500 + b"\r\n", 431, "HeadersTooLarge"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "BadRequest",
        ),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, "BadRequest"),
        (b"GET /a/../b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "BadRequest"),
        (b"GET /a/%2e%2E/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "BadRequest"),
        (b"GET /a%2fb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "BadRequest"),
        (b"GET /a%00b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "BadRequest"),
        (b"GET /a\\b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "BadRequest"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "BadRequest"),
        (b"GET http://other/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "BadRequest"),
    ],
)
async def test_what_cannot_be_read_gets_the_envelope_and_never_an_upstream(
    start_edge: StartEdge, start_upstream: StartUpstream, raw: bytes, status: int, error: str
) -> None:
    reached: list[str] = []

    async def note(request: web.BaseRequest) -> web.Response:
        reached.append(request.path)
        return web.Response()

    edge = await start_edge(table(await start_upstream(note)))
    answer = await edge.raw(raw)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert json.loads(body).keys() == ENVELOPE
    assert json.loads(body)["error"] == error
    assert all(f"{name}: {value}".encode() in head for name, value in SECURITY.items())
    assert reached == []


async def test_absolute_form_that_agrees_with_host_is_served(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(show_headers)))
    raw = await edge.raw(b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 200 ")


async def test_unknown_host_is_421_and_wildcards_pass(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(
        table(await start_upstream(show_headers)), DOMAINS="example.com, *.example.com", DOMAIN1="other.test"
    )
    for host, status in (
        ("example.com", 200),
        ("A.Example.com:8080", 200),
        ("other.test", 200),
        ("evil.test", 421),
        ("notexample.com", 421),
    ):
        async with edge.client.get("/", headers={"Host": host}) as response:
            assert response.status == status, host
    async with edge.client.get("/health", headers={"Host": "10.0.0.1"}) as response:
        assert response.status == 200  # probes come by address


async def test_health_calls_leave_no_access_line(
    start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    edge = await start_edge(table(await start_upstream(show_headers)))
    for path in ["/health"] * 100 + ["/health/ready", "/health/db", "/seen"]:
        async with edge.client.get(path):
            pass
    log = tmp_path / "access.log"
    async with asyncio.timeout(5):
        while "/seen" not in log.read_text():  # lines are written in order, a moment later
            await asyncio.sleep(0.01)
    assert [json.loads(line)["path"] for line in log.read_text().splitlines()] == ["/seen"]


async def test_clients_cannot_speak_for_the_edge(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(show_headers)))
    spoofed = {
        "X-Gatehouse-User": "someone",
        "X_Gatehouse_Role": "admin",
        "x-gatehouse-permissions": "*:manage",
        "X-Forwarded-For": "1.2.3.4",
        "X-Real-IP": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=1.2.3.4",
        "Authorization": "Bearer abc",
        "Connection": "X-Custom, keep-alive",
        "X-Custom": "hop",
        "TE": "trailers",
        "Proxy-Authorization": "x",
    }
    async with edge.client.get("/", headers=spoofed) as response:
        seen = await response.json()
    assert not [name for name, _ in seen if name.lower().replace("_", "-").startswith("x-gatehouse")]
    assert named(seen, "X-Forwarded-For") == ["127.0.0.1"]
    assert named(seen, "X-Real-IP") == ["127.0.0.1"]
    assert named(seen, "X-Forwarded-Proto") == ["http"]
    for name in ("Forwarded", "Authorization", "X-Custom", "TE", "Proxy-Authorization"):
        assert named(seen, name) == []


async def test_connection_header_cannot_remove_what_the_edge_adds(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(show_headers)))
    async with edge.client.get("/", headers={"Connection": "X-Request-ID, X-Real-IP, keep-alive"}) as response:
        seen = await response.json()
    assert named(seen, "X-Real-IP") == ["127.0.0.1"]
    assert named(seen, "X-Request-ID")


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("9.9.9.9", "9.9.9.9"),
        ("1.1.1.1, 9.9.9.9", "9.9.9.9"),  # the left-most is the visitor's own claim
        ("1.1.1.1, 9.9.9.9, 10.0.0.7", "9.9.9.9"),
        ("nonsense, 10.0.0.7", "10.0.0.7"),
        ("", "127.0.0.1"),
    ],
)
async def test_client_is_the_right_most_untrusted_hop(
    start_edge: StartEdge, start_upstream: StartUpstream, forwarded_for: str, client: str
) -> None:
    edge = await start_edge(table(await start_upstream(show_headers)), TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8")
    headers = {"X-Forwarded-For": forwarded_for, "X-Forwarded-Proto": "https"}
    async with edge.client.get("/", headers=headers) as response:
        seen = await response.json()
    assert named(seen, "X-Real-IP") == [client]
    assert named(seen, "X-Forwarded-Proto") == ["https"]


async def test_longest_path_wins_by_whole_segments(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    async def say_short(_request: web.BaseRequest) -> web.Response:
        return web.Response(text="short")

    async def say_long(_request: web.BaseRequest) -> web.Response:
        return web.Response(text="long")

    routes = table(await start_upstream(say_short), "/api/v1/") + (
        f'[upstream.long]\nservers = ["{await start_upstream(say_long)}"]\n'
        '[[route]]\npath = "/api/v1/me"\nupstream = "long"\nauth = "none"\nlimits = []\n'
    )
    edge = await start_edge(routes)
    for path, expected in (
        ("/api/v1/me", "long"),
        ("/api/v1/me/x?y", "long"),
        ("/api/v1/menu", "short"),
        ("/api/v1", "short"),
    ):
        async with edge.client.get(path) as response:
            assert await response.text() == expected, path
    async with edge.client.get("/api/v2/me") as response:
        assert (response.status, (await response.json())["error"]) == (404, "NotFound")


async def test_method_outside_the_table_is_405_with_allow(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(show_headers), methods='["GET", "HEAD"]'))
    async with edge.client.post("/") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
        assert (await response.json())["error"] == "MethodNotAllowed"


async def test_limit_admits_exactly_its_count_and_says_when_to_come_back(
    start_edge: StartEdge, start_upstream: StartUpstream, clean_redis_url: str
) -> None:
    calls = 0

    async def count(_request: web.BaseRequest) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response()

    edge = await start_edge(
        table(await start_upstream(count), limits='["general"]'), REDIS_URL=clean_redis_url, LIMIT_GENERAL="5/1"
    )
    remaining = []
    for _ in range(5):
        async with edge.client.get("/") as response:
            assert response.status == 200
            remaining.append(int(response.headers["X-RateLimit-Remaining"]))
    assert remaining == [4, 3, 2, 1, 0]
    async with edge.client.get("/") as response:
        body = await response.json()
        assert (response.status, body["error"]) == (429, "TooManyRequests")
        assert body["message"] == "Too many requests, please try again later"
        wait = int(response.headers["Retry-After"])
    assert calls == 5  # a limited request never reaches the upstream
    await asyncio.sleep(wait)  # the promise under test is about waiting
    async with edge.client.get("/") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("said", "status", "shown"),
    [
        ({"Limit": "9", "Remaining": "3", "Reset": "70"}, 200, {"Limit": "9", "Remaining": "3", "Reset": "70"}),
        ({"Limit": "9", "Remaining": "4", "Reset": "70"}, 429, {"Limit": "9", "Remaining": "4", "Reset": "70"}),
        ({"Limit": "9", "Remaining": "5", "Reset": "70"}, 200, {"Limit": "5", "Remaining": "4"}),
        ({"Remaining": "0"}, 429, {"Limit": "5", "Remaining": "4"}),
        ({"Limit": "9", "Remaining": "0"}, 200, {"Limit": "5", "Remaining": "4"}),
        ({"Limit": "9", "Remaining": "9" * 5000, "Reset": "70"}, 200, {"Limit": "5", "Remaining": "4"}),
        ({"Limit": "many", "Remaining": "0", "Reset": "70"}, 200, {"Limit": "5", "Remaining": "4"}),
    ],
    ids=["fewer", "as many", "more", "part", "no reset", "no number", "words"],
)
async def test_limits_of_a_service_are_shown_whole_or_not_at_all(
    start_edge: StartEdge, start_upstream: StartUpstream, said: dict[str, str], status: int, shown: dict[str, str]
) -> None:
    async def limit(_request: web.BaseRequest) -> web.Response:
        return web.Response(
            status=status,
            headers={"Retry-After": "7", **{f"X-RateLimit-{name}": value for name, value in said.items()}},
        )

    edge = await start_edge(table(await start_upstream(limit), limits='["general"]'), LIMIT_GENERAL="5/60")
    async with edge.client.get("/") as response:
        assert (response.status, response.headers["Retry-After"]) == (status, "7")
        prefix = "X-RateLimit-"
        found = {
            name.removeprefix(prefix): value for name, value in response.headers.items() if name.startswith(prefix)
        }
        sets = len([name for name in response.headers if name.lower().startswith(prefix.lower())])
    assert (found.keys(), sets) == ({"Limit", "Remaining", "Reset"}, 3)
    assert found | shown == found


async def test_two_edges_share_one_limit_in_a_burst(
    start_edge: StartEdge, start_upstream: StartUpstream, clean_redis_url: str
) -> None:
    routes = table(await start_upstream(show_headers), limits='["general"]')
    edges = [await start_edge(routes, REDIS_URL=clean_redis_url) for _ in range(2)]

    async def call(number: int) -> int:
        async with edges[number % 2].client.get("/") as response:
            return response.status

    statuses = await asyncio.gather(*(call(number) for number in range(200)))
    assert sorted(statuses) == [200] * 100 + [429] * 100


async def test_without_a_store_limits_hold_in_memory(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(show_headers), limits='["general"]'), RATE_LIMIT_MAX="3")
    statuses = []
    for _ in range(4):
        async with edge.client.get("/") as response:
            statuses.append(response.status)
    assert statuses == [200, 200, 200, 429]


async def test_listed_origin_is_echoed_and_others_are_not(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    async def own_opinion(_request: web.BaseRequest) -> web.Response:
        return web.Response(headers={"Access-Control-Allow-Origin": "*"})

    for origins in ("https://app.test, https://www.test", '["https://app.test", "https://www.test"]'):
        edge = await start_edge(table(await start_upstream(own_opinion)), ALLOWED_ORIGINS=origins)
        async with edge.client.get("/", headers={"Origin": "https://app.test"}) as response:
            assert response.headers.getall("Access-Control-Allow-Origin") == ["https://app.test"]
            assert response.headers["Access-Control-Allow-Credentials"] == "true"
            assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]
        async with edge.client.get("/", headers={"Origin": "https://evil.test"}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
        preflight = {"Origin": "https://www.test", "Access-Control-Request-Method": "PUT"}
        async with edge.client.options("/", headers=preflight) as response:
            assert response.status == 204
            assert "PUT" in response.headers["Access-Control-Allow-Methods"]
            assert response.headers["Access-Control-Max-Age"] == "600"


async def test_retiring_worker_asks_clients_to_reconnect(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    runtime = Runtime()
    edge = await start_edge(table(await start_upstream(show_headers)), runtime)
    runtime.retiring = True
    async with edge.client.get("/") as response:
        assert response.status == 200
        assert response.headers["Connection"] == "close"


async def test_openai_routes_answer_errors_in_openai_shape(start_edge: StartEdge, unused_tcp_port: int) -> None:
    edge = await start_edge(table(f"http://127.0.0.1:{unused_tcp_port}", "/v1", errors='"openai"'))
    async with edge.client.get("/v1/models") as response:
        assert response.status == 502
        assert (await response.json())["error"]["code"] == "BadGateway"


async def test_strip_prefix_and_pass_authorization(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    async def show(request: web.BaseRequest) -> web.Response:
        return web.json_response({"target": request.raw_path, "authorization": request.headers.get("Authorization")})

    routes = table(await start_upstream(show), "/mine", strip_prefix="true", pass_authorization="true")
    edge = await start_edge(routes)
    async with edge.client.get("/mine/a?b=c", headers={"Authorization": "Basic x"}) as response:
        assert await response.json() == {"target": "/a?b=c", "authorization": "Basic x"}
    async with edge.client.get("/mine") as response:
        assert (await response.json())["target"] == "/"


async def test_credentials_cannot_be_judged_without_auth_is_503(
    start_edge: StartEdge, start_upstream: StartUpstream, unused_tcp_port: int
) -> None:
    edge = await start_edge(
        table(await start_upstream(show_headers), auth='"required"'), AUTH_URL=f"http://127.0.0.1:{unused_tcp_port}"
    )
    async with edge.client.get("/") as response:
        assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    async with edge.client.get("/", headers={"Authorization": f"ApiKey {api_keys.make()}"}) as response:
        assert response.status == 503
    async with edge.client.get("/", headers={"Authorization": "ApiKey sk_live_junk"}) as response:
        assert response.status == 401  # its check characters say so, whoever is away
    async with edge.client.get("/", headers={"Authorization": "Bearer not.a.token"}) as response:
        assert response.status == 401


async def test_metrics_name_route_method_and_status(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    async def templated(_request: web.BaseRequest) -> web.Response:
        return web.Response(headers={"X-Gatehouse-Route": "/things/{id}"})

    edge = await start_edge(table(await start_upstream(templated)))
    async with edge.client.get("/things/1") as response:
        assert "X-Gatehouse-Route" not in response.headers
    families = await edge.runtime.merged_metrics()
    samples = [sample for family in families for sample in family[3] if sample[0] == "http_requests_total"]
    assert [dict(labels)["route"] for _, labels, value in samples if value == 1] == ["/things/{id}"]


async def test_metrics_say_what_the_limiter_decided(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(show_headers), limits='["general"]'), LIMIT_GENERAL="2/60")
    for _ in range(3):
        async with edge.client.get("/"):
            pass
    samples = {
        (name, *(value for _, value in labels)): value
        for family in await edge.runtime.merged_metrics()
        for name, labels, value in family[3]
    }
    assert samples[("limit_decisions_total", "general", "allowed")] == 2
    assert samples[("limit_decisions_total", "general", "denied")] == 1
    assert samples[("limit_store_down",)] == 0
