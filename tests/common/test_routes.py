"""A route declaration does what it says: permission first, then input, then the envelope."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from common.errors import Conflict
from common.health import Check
from common.routes import Access, Route, add_routes
from common.service import create_service
from common.validation import Input
from common.worker import Worker

KEY = {"Authorization": "ApiKey key"}
Client = TestClient[web.Request, web.Application]
Serve = Callable[..., Awaitable[Client]]


class Thing(Input):
    name: str


class Filter(Input):
    tags: tuple[str, ...] = ()
    limit: int = 1


async def _nothing() -> None:
    return


@pytest.fixture
async def serve(aiohttp_client: Any) -> Serve:
    async def start(handler: Any, *, method: str = "GET", path: str = "/things", **given: Any) -> Client:
        app = create_service("sample", service_key="key", runtime=Worker(), checks={"database": Check(_nothing)})
        defaults = {"summary": "Try", "permission": "things:read"}
        add_routes(app, [Route(method=method, path=path, handler=handler, **{**defaults, **given})])
        client: Client = await aiohttp_client(TestServer(app))
        return client

    return start


def as_caller(*permissions: str) -> dict[str, str]:
    return {**KEY, "X-Gatehouse-Org": str(uuid4()), "X-Gatehouse-Permissions": " ".join(permissions)}


async def test_data_comes_in_the_success_envelope(serve: Serve) -> None:
    async def handler(request: web.Request) -> dict[str, Any]:
        return {"amount": Decimal("25.50"), "id": UUID(int=7)}

    client = await serve(handler, status=201)
    response = await client.get("/things", headers=as_caller("things:read"))
    assert response.status == 201
    assert await response.json() == {
        "success": True,
        "data": {"amount": "25.50", "id": "00000000-0000-0000-0000-000000000007"},
    }


async def test_no_content_has_no_body(serve: Serve) -> None:
    async def handler(request: web.Request) -> None:
        return None

    client = await serve(handler, method="DELETE", status=204)
    response = await client.delete("/things", headers=as_caller("things:read"))
    assert (response.status, await response.read()) == (204, b"")


@pytest.mark.parametrize(
    ("permission", "held", "status"),
    [
        ("things:read", ["things:read"], 200),
        ("things:read", ["*:read"], 200),
        ("things:read", ["things:write", "other:read"], 403),
        ("platform:read", ["*:read"], 403),
        (Access.SIGNED_IN, [], 200),
        (Access.PUBLIC, None, 200),
        (Access.SIGNED_IN, None, 401),
        ("things:read", None, 401),
    ],
)
async def test_access_is_as_declared(serve: Serve, permission: Any, held: list[str] | None, status: int) -> None:
    async def handler(request: web.Request) -> dict[str, Any]:
        return {}

    client = await serve(handler, permission=permission)
    response = await client.get("/things", headers=KEY if held is None else as_caller(*held))
    assert response.status == status


async def test_handler_gets_what_the_route_declares(serve: Serve) -> None:
    got: dict[str, Any] = {}

    async def handler(request: web.Request, **given: Any) -> None:
        got.update(given)

    client = await serve(handler, method="PUT", path="/things/{thing_id}/{word}", body=Thing, query=Filter)
    thing = uuid4()
    headers = as_caller("things:read")
    await client.put(f"/things/{thing}/x?tags=a&tags=b&limit=3", json={"name": "n"}, headers=headers)
    assert got == {"thing_id": thing, "word": "x", "body": Thing(name="n"), "query": Filter(tags=("a", "b"), limit=3)}
    assert (await client.put("/things/nothing/x", json={"name": "n"}, headers=headers)).status == 404
    assert (await client.put(f"/things/{thing}/x?limit=1&limit=2", json={"name": "n"}, headers=headers)).status == 422


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"name": "n"}', "application/json", 200),
        (b'{"name": "n"}', "application/merge-patch+json; charset=utf-8", 200),
        (b'{"name": "n"}', "text/plain", 415),
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"name": 1e999}', "application/json", 422),
        (b'{"name": "' + b"x" * 100 + b'"}', "application/json", 413),
    ],
)
async def test_body_is_read_only_when_it_is_fit(serve: Serve, body: bytes, kind: str, status: int) -> None:
    async def handler(request: web.Request, *, body: Thing) -> dict[str, Any]:
        return {"name": body.name}

    client = await serve(handler, method="POST", body=Thing, body_bytes_max=50)
    headers = {**as_caller("things:read"), "Content-Type": kind}
    assert (await client.post("/things", data=body, headers=headers)).status == status


async def test_errors_are_rendered_and_defects_say_nothing(serve: Serve) -> None:
    async def refuse(request: web.Request) -> None:
        raise Conflict("Taken", detail="SELECT secret", headers={"Retry-After": "3"})

    response = await (await serve(refuse)).get("/things", headers=as_caller("things:read"))
    assert (response.status, response.headers["Retry-After"]) == (409, "3")
    assert "secret" not in await response.text()

    async def break_down(request: web.Request) -> None:
        raise RuntimeError("SELECT secret")

    response = await (await serve(break_down)).get("/things", headers=as_caller("things:read"))
    assert (response.status, (await response.json())["message"]) == (500, "Internal server error")
    assert "secret" not in await response.text()


async def test_stream_response_goes_out_as_it_is(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="plain")

    response = await (await serve(handler)).get("/things", headers=as_caller("things:read"))
    assert await response.text() == "plain"
