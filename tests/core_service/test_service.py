"""What holds for every route of the core service: who may call, what a bad request gets, how it lives without its
database."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.routes import ROUTES, Access, Route
from common.worker import Worker
from core_service.app import create_app, observe
from core_service.modules.expenses.handlers import routes
from tests.core_service.caller import Caller, Client, error_of
from tests.core_service.conftest import Serve, make_settings
from tests.core_service.relay import Relay

AsUser = Callable[..., Caller]
every_route = pytest.mark.parametrize("route", routes, ids=lambda route: f"{route.method} {route.path}")
routes_with_body = pytest.mark.parametrize(
    "route", [route for route in routes if route.body], ids=lambda route: f"{route.method} {route.path}"
)


def path_of(route: Route) -> str:
    """A path of the route below /api/v1 that names nothing that exists."""
    for name in route.parameters():
        return route.path.removeprefix("/api/v1").replace(f"{{{name}}}", str(uuid4()))
    return route.path.removeprefix("/api/v1")


@every_route
async def test_without_the_service_key_nobody_gets_in_from_localhost_either(core: Client, route: Route) -> None:
    headers = Caller(core).headers
    for authorization in (None, "", "ApiKey ", "ApiKey wrong", "Bearer core-key-of-the-tests", "core-key-of-the-tests"):
        given = {**headers, "Authorization": authorization} if authorization is not None else {}
        path = f"/api/v1{path_of(route)}"
        response = await core.request(route.method, path, headers=given)
        assert (await error_of(response, 401, route.method, path))["error"] == "Unauthorized"


@every_route
async def test_without_an_identity_a_route_is_401(core: Client, route: Route) -> None:
    path = f"/api/v1{path_of(route)}"
    response = await core.request(route.method, path, headers={"Authorization": Caller(core).headers["Authorization"]})
    assert (await error_of(response, 401, route.method, path))["error"] == "Unauthorized"


@every_route
async def test_permission_is_checked_before_the_body_is_read(as_user: AsUser, route: Route) -> None:
    viewer = as_user("viewer")
    response = await viewer.send(route.method, path_of(route), data="{not json", headers={"Content-Type": "text/plain"})
    if route.method == "GET":
        assert response.status in (200, 404)
    else:
        assert (await error_of(response, 403, route.method, response.url.path))["error"] == "Forbidden"


@every_route
async def test_permission_of_another_resource_does_not_help(as_user: AsUser, route: Route) -> None:
    assert isinstance(route.permission, str)
    other = {"X-Gatehouse-Permissions": "prospects:read prospects:write expenses:manage platform:write"}
    await as_user().refused(403, route.method, path_of(route), headers=other)


@every_route
async def test_key_of_an_organization_alone_owns_nothing(as_user: AsUser, route: Route) -> None:
    body = (
        {"name": "x"}
        if "categories" in route.path
        else {"amount": 1, "date": "2025-01-01", "category_id": str(uuid4())}
    )
    await as_user("admin", user=None).refused(403, route.method, path_of(route), json=body if route.body else None)


async def test_every_route_says_all_about_itself(core: Client) -> None:
    assert core.app is not None
    for route in core.app[ROUTES]:
        assert isinstance(route.permission, Access) or route.permission.endswith((":read", ":write"))
        assert route.summary
        assert route.answer or route.status == 204
        assert route.body or route.method not in ("POST", "PUT")


async def test_answers_carry_the_request_id_and_the_route(as_user: AsUser) -> None:
    response = await as_user().send("GET", f"/expenses/{uuid4()}", headers={"X-Request-ID": "abc-12345"})
    assert response.headers["X-Request-ID"] == "abc-12345"
    assert response.headers["X-Gatehouse-Route"] == "/api/v1/expenses/{expense_id}"


@routes_with_body
async def test_malformed_json_is_400(as_user: AsUser, route: Route) -> None:
    me = as_user()
    for body in ("", "{", "nul", "{'a': 1}", '{"a": NaN}', "\xff", '"\\ud800"', "[" * 50_000, '{"a":' * 10_000):
        data = body.encode("latin-1")
        assert (await _json_error(me, 400, route, data))["error"] == "BadRequest"


async def _json_error(
    me: Caller, status: int, route: Route, data: bytes, kind: str = "application/json"
) -> dict[str, Any]:
    path = path_of(route)
    return await me.refused(status, route.method, path, data=data, headers={"Content-Type": kind})


@routes_with_body
async def test_other_content_types_are_415(as_user: AsUser, route: Route) -> None:
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
    ):
        error = await _json_error(as_user(), 415, route, b"{}", kind)
        assert error["error"] == "UnsupportedMediaType"


@pytest.mark.parametrize("announced", ["Content-Length: 104857600", "Transfer-Encoding: chunked"])
@routes_with_body
async def test_large_body_is_413_before_it_has_all_arrived(
    as_user: AsUser, core: Client, route: Route, announced: str
) -> None:
    path = f"/api/v1{path_of(route)}"
    lines = [f"{route.method} {path} HTTP/1.1", "Host: core", "Content-Type: application/json", announced]
    lines += [f"{name}: {value}" for name, value in as_user().headers.items()]
    reader, writer = await asyncio.open_connection(core.host, core.port)
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    if "chunked" in announced:
        writer.write(b"11170\r\n" + b" " * 0x11170)  # 70,000 bytes, and no end
    try:
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b'"requestId"')
    finally:
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"PayloadTooLarge"' in answer


_json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["\0", "2025-01-01", "1.00", "x" * 5000, "' OR 1=1 --", str(uuid4())]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_fields = st.sampled_from(
    ["name", "description", "color", "icon", "is_default", "amount", "date", "category_id", "payment_method", "tags",
     "notes", "currency", "\0", "x" * 1000]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_json_values | st.dictionaries(_fields, _json_values), query=st.dictionaries(_fields, st.text(max_size=30)))
async def test_no_input_is_a_server_error(as_user: AsUser, body: Any, query: dict[str, str]) -> None:
    me = as_user()
    for route in routes:
        sent: dict[str, Any] = {"json": body} if route.body else {}
        response = await me.send(route.method, path_of(route), params=query, **sent)
        assert response.status < 500, (route.path, body, query)
        assert "requestId" in await response.json() or response.status < 400


async def test_sql_in_every_place_is_data(as_user: AsUser) -> None:
    me = as_user()
    attack = "x'; DROP TABLE core.expenses; --"
    category = await me.category(attack, description=attack, icon=attack)
    made = await me.expense(category["id"], description=attack, notes=attack, tags=[attack])
    found = await me.data("GET", "/expenses", params={"tags": attack})
    assert found["items"] == [made]


@pytest.mark.parametrize(
    "path", ["", "/", "/nothing", "/expenses/", "/expenses/1/2", "/Expenses", "/analytics/monthly"]
)
async def test_unknown_path_is_404_in_the_envelope(as_user: AsUser, path: str) -> None:
    assert (await as_user().refused(404, "GET", path))["error"] == "NotFound"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/expenses", "GET, HEAD, POST"),
        ("DELETE", "/categories", "GET, HEAD, POST"),
        ("POST", "/expenses/1", "DELETE, GET, HEAD, PUT"),
        ("PROPFIND", "/categories/1", "DELETE, GET, HEAD, PUT"),
    ],
)
async def test_wrong_method_is_405_and_says_which_are_right(
    as_user: AsUser, method: str, path: str, allowed: str
) -> None:
    response = await as_user().send(method, path)
    assert (await error_of(response, 405, method, f"/api/v1{path}"))["error"] == "MethodNotAllowed"
    assert response.headers["Allow"] == allowed


async def test_malformed_identity_is_refused(as_user: AsUser) -> None:
    for name in ("X-Gatehouse-Org", "X-Gatehouse-User"):
        await as_user().refused(400, "GET", "/expenses", headers={name: "nobody"})


async def test_health_ready_and_db_are_open_and_shaped_as_promised(core: Client) -> None:
    health = await (await core.get("/health")).json()
    assert set(health) == {"success", "status", "service", "version", "timestamp", "uptime", "memory"}
    assert (health["success"], health["status"], health["service"]) == (True, "healthy", "core")
    assert set(health["memory"]) == {"rss", "heapTotal", "heapUsed"}
    ready = await core.get("/health/ready")
    assert (ready.status, await ready.json()) == (
        200,
        {"success": True, "status": "ready", "checks": {"database": "healthy", "redis": "healthy"}},
    )
    database = await core.get("/health/db")
    assert await database.json() == {"success": True, "status": "healthy", "database": "connected"}


async def test_metrics_count_requests_by_template(shared_database_url: str) -> None:
    worker = Worker()
    app = create_app(make_settings(DATABASE_URL=shared_database_url), runtime=worker)
    observe(app, worker)
    async with TestClient(TestServer(app)) as client:
        for _ in range(3):
            await Caller(client).refused(404, "GET", f"/expenses/{uuid4()}")
        text = await (await client.get("/metrics")).text()
        assert (
            'http_requests_total{service="core",route="/api/v1/expenses/{expense_id}",method="GET",status="404"} 3.0'
            in text
        )
        short = await client.get("/metrics", headers={"Accept": "application/json"})
        assert set(await short.json()) == {"version", "status", "timestamp"}


async def test_redis_down_is_degraded_and_serves(serve: Serve, shared_database_url: str) -> None:
    client = await serve(DATABASE_URL=shared_database_url)
    ready = await client.get("/health/ready")
    assert ready.status == 200
    assert await ready.json() == {
        "success": True,
        "status": "degraded",
        "checks": {"database": "healthy", "redis": "unhealthy"},
    }
    assert (await Caller(client).data("GET", "/categories"))["total"] == 6


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_database_away_is_503_naming_it_until_it_is_back(serve: Serve, shared_database_url: str) -> None:
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay(shared_database_url))
        client = await serve(DATABASE_URL=relay.url)
        me = Caller(client)
        made = await me.expense((await me.category())["id"])

        await relay.cut()
        for route in routes:
            body = {"name": "x"} if "categories" in route.path else {**_expense(made), "amount": "1.00"}
            error = await me.refused(503, route.method, path_of(route), json=body if route.body else None)
            assert (error["error"], error["message"]) == ("ServiceUnavailable", "The database is not available")
        assert (await client.get("/health")).status == 200

        async def unavailable() -> bool:
            return (await client.get("/health/ready")).status == 503

        await until(unavailable)
        ready, database = await client.get("/health/ready"), await client.get("/health/db")
        assert (await ready.json())["status"] == "unavailable"
        assert (await ready.json())["checks"]["database"] == "unhealthy"
        assert database.status == 503
        text = await database.text()
        assert (await database.json())["status"] == "unhealthy"
        parts = urlsplit(relay.url)
        assert all(
            str(secret) not in text for secret in (parts.port, parts.path[1:], parts.password or "postgresql://")
        )

        await relay.restore()
        assert (await me.data("GET", "/expenses"))["items"] == [made]

        async def ready_again() -> bool:
            return (await client.get("/health/ready")).status == 200 and (await client.get("/health/db")).status == 200

        await until(ready_again)


def _expense(made: dict[str, Any]) -> dict[str, Any]:
    return {name: made[name] for name in ("amount", "date", "category_id")}


async def test_service_starts_without_its_database(serve: Serve) -> None:
    client = await serve(DATABASE_URL="postgresql://nobody:secret@127.0.0.1:9/nothing", DATABASE_POOL_MIN="2")
    assert (await client.get("/health")).status == 200
    assert (await client.get("/health/ready")).status == 503
    await Caller(client).refused(503, "GET", "/expenses")


def test_workers_share_the_connections() -> None:
    options = make_settings(DATABASE_POOL_MIN="10", DATABASE_POOL_MAX="50").pool_options(4)
    assert (options.size_min, options.size_max) == (2, 12)
    assert make_settings(DATABASE_POOL_MAX="2").pool_options(4).size_max == 1
    assert make_settings().pool_options(1).prepared_statements
    assert not make_settings(DATABASE_POOLER="transaction").pool_options(1).prepared_statements
