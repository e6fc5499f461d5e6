"""Headers that a route sets and removes, both ways, without touching what is the edge's own."""

from pathlib import Path

import pytest
from aiohttp import web

from edge.table import TableError, read_table
from tests.edge.conftest import KEYS, StartEdge, StartUpstream, table


async def echo(request: web.BaseRequest) -> web.Response:
    seen = [[name, value] for name, value in request.headers.items()]
    headers = {"X-Powered-By": "it", "X-Version": "1", "X-Frame-Options": "ALLOWALL", "Server": "it/1"}
    return web.json_response(seen, headers=headers)


async def seen_by_upstream(start_edge: StartEdge, url: str, rules: str, sent: dict[str, str]) -> list[list[str]]:
    edge = await start_edge(table(url, headers=f"{{ request = {rules} }}"))
    async with edge.client.get("/", headers=sent) as response:
        assert response.status == 200
        return await response.json()


async def test_request_headers_are_set_and_removed(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    rules = '{ set = { X-Tenant = "acme", X-Empty = "" }, remove = ["Cookie"] }'
    sent = {"X-Tenant": "mine", "x_tenant": "mine", "Cookie": "a=b", "X-Other": "kept"}
    seen = await seen_by_upstream(start_edge, await start_upstream(echo), rules, sent)
    names = [name.lower() for name, _ in seen]
    assert [value for name, value in seen if name.lower().replace("_", "-") == "x-tenant"] == ["acme"]
    assert ["X-Empty", ""] in seen
    assert ["X-Other", "kept"] in seen
    assert "cookie" not in names


async def test_client_cannot_unset_what_a_route_sets(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    sent = {"Connection": "keep-alive, X-Tenant"}
    seen = await seen_by_upstream(start_edge, await start_upstream(echo), '{ set = { X-Tenant = "acme" } }', sent)
    assert ["X-Tenant", "acme"] in seen


async def test_upstream_can_be_given_a_host_and_a_credential_of_its_own(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    rules = '{ set = { Host = "api.other.example:8443", Authorization = "env:OTHER_CREDENTIAL" } }'
    routes = table(await start_upstream(echo), headers=f"{{ request = {rules} }}")
    routes = routes.replace("[upstream.it]\n", f'[upstream.it]\nservice_key = "{KEYS["CORE_SERVICE_KEY"]}"\n')
    edge = await start_edge(routes, OTHER_CREDENTIAL="Basic aXQ6aXQ=")
    async with edge.client.get("/", headers={"Authorization": "Bearer mine"}) as response:
        seen = await response.json()
    assert [value for name, value in seen if name == "Authorization"] == ["Basic aXQ6aXQ="]
    assert [value for name, value in seen if name == "Host"] == ["api.other.example:8443"]
    assert [value for name, value in seen if name == "X-Forwarded-Host"] == [f"127.0.0.1:{edge.port}"]


async def test_response_headers_are_set_and_removed(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    rules = '{ set = { X-Version = "2", Cache-Control = "no-store" }, remove = ["X-Powered-By"] }'
    edge = await start_edge(table(await start_upstream(echo), headers=f"{{ response = {rules} }}"))
    async with edge.client.get("/") as response:
        assert response.headers.getall("X-Version") == ["2"]
        assert response.headers["Cache-Control"] == "no-store"
        assert "X-Powered-By" not in response.headers
        assert response.headers.getall("X-Frame-Options") == ["DENY"]
        assert "Server" not in response.headers
        assert response.headers["Content-Type"].startswith("application/json")


async def test_page_may_say_otherwise_what_protects_it_alone(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    rules = '{ set = { Referrer-Policy = "same-origin", Content-Security-Policy = "frame-ancestors https://x.example" }'
    rules += ', remove = ["X-Frame-Options"] }'
    edge = await start_edge(table(await start_upstream(echo), headers=f"{{ response = {rules} }}"))
    async with edge.client.get("/") as response:
        assert response.headers.getall("Referrer-Policy") == ["same-origin"]
        assert "X-Frame-Options" not in response.headers
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "max-age" in response.headers["Strict-Transport-Security"]


async def test_rules_of_one_route_leave_another_alone(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    url = await start_upstream(echo)
    ruled = '[[route]]\npath = "/ruled"\nupstream = "it"\nauth = "none"\nlimits = []\n'
    ruled += 'headers = { response = { remove = ["X-Version", "X-Frame-Options"] } }\n'
    edge = await start_edge(table(url, "/plain") + ruled)
    async with edge.client.get("/ruled") as response:
        assert "X-Version" not in response.headers
        assert "X-Frame-Options" not in response.headers
    async with edge.client.get("/plain") as response:
        assert response.headers["X-Version"] == "1"
        assert response.headers["X-Frame-Options"] == "DENY"


REQUEST_FAULTS = [
    ('set = { "X Tenant" = "a" }', "'X Tenant' is no header name"),
    ('set = { "" = "a" }', "'' is no header name"),
    ('set = { X-Tenant = "a\\r\\nX-Gatehouse-User: b" }', "the value of X-Tenant must be visible ASCII"),
    ('set = { X-Tenant = "a\\u0000" }', "the value of X-Tenant must be visible ASCII"),
    ('set = { X-Tenant = " a" }', "the value of X-Tenant must be visible ASCII"),
    ('set = { X-Tenant = "ä" }', "the value of X-Tenant must be visible ASCII"),
    ('set = { X-Tenant = "a", x-tenant = "b" }', "each header once"),
    ('set = { X-Tenant = "a" }, remove = ["x_tenant"]', "each header once"),
    ('set = { Host = "a/b" }', "Host must be a host"),
    *(
        (f'set = {{ {name} = "1" }}', f"{name} is the edge's own towards an upstream")
        for name in (
            "Connection",
            "Transfer-Encoding",
            "Content-Length",
            "Upgrade",
            "Via",
            "X-Gatehouse-User",
            "x_gatehouse_org",
        )
    ),
    *(
        (f'remove = ["{name}"]', f"{name} is the edge's own towards an upstream")
        for name in ("Host", "X-Request-ID", "X-Forwarded-For", "X-Real-IP", "Expect", "via")
    ),
]
RESPONSE_FAULTS = [
    ('set = { X-A = "a\\n" }', "the value of X-A must be visible ASCII"),
    ('remove = ["X:A"]', "'X:A' is no header name"),
    *(
        (f'set = {{ {name} = "1" }}', f"{name} is the edge's own towards a client")
        for name in ("Content-Length", "Content-Encoding", "Transfer-Encoding", "X-Gatehouse-Route", "X-Request-ID")
    ),
    *(
        (f'remove = ["{name}"]', f"{name} is the edge's own towards a client")
        for name in (
            "X-Content-Type-Options",
            "Strict-Transport-Security",
            "Access-Control-Allow-Origin",
            "X-RateLimit-Limit",
        )
    ),
]


@pytest.mark.parametrize(
    ("side", "rules", "fault"),
    [("request", *case) for case in REQUEST_FAULTS] + [("response", *case) for case in RESPONSE_FAULTS],
)
def test_rule_that_cannot_be_kept_is_refused(tmp_path: Path, side: str, rules: str, fault: str) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(table("http://127.0.0.1:1", headers=f"{{ {side} = {{ {rules} }} }}"))
    with pytest.raises(TableError) as caught:
        read_table(file, {}.get)
    assert f"{file}:9: headers.{side}: {fault}" in str(caught.value)
