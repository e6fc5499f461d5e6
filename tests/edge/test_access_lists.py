"""From which addresses a route may be called."""

from pathlib import Path

import pytest
from aiohttp import web

from edge.entries import RouteEntry
from edge.policies.access import access_list
from edge.table import TableError, read_table
from tests.edge.conftest import StartEdge, StartUpstream, table


@pytest.mark.parametrize(
    ("allow", "deny", "address", "admitted"),
    [
        (["10.0.0.0/8"], [], "10.1.2.3", True),
        (["10.0.0.0/8"], [], "11.0.0.1", False),
        (["10.0.0.0/8"], [], "::ffff:10.1.2.3", True),
        (["10.0.0.0/8", "2001:db8::/32"], [], "2001:db8::7", True),
        (["10.0.0.0/8"], ["10.6.0.0/16"], "10.6.6.6", False),
        (["10.0.0.0/8"], ["10.6.0.0/16"], "10.7.7.7", True),
        ([], ["10.6.6.6"], "10.6.6.6", False),
        ([], ["10.6.6.6"], "10.6.6.7", True),
        (["10.0.0.0/8"], [], "unix", False),
        ([], ["10.6.6.6"], "unix", True),
    ],
)
def test_deny_goes_first_then_allow_where_it_names_any(
    allow: list[str], deny: list[str], address: str, *, admitted: bool
) -> None:
    lists = {"deny": deny} | ({"allow": allow} if allow else {})
    entry = RouteEntry.model_validate({"path": "/", "upstream": "it", **lists})
    listed = access_list(entry.allow, entry.deny)
    assert listed is not None
    if admitted:
        listed.require(address)
    else:
        with pytest.raises(Exception, match="not served to your address"):
            listed.require(address)


def test_route_without_lists_has_nothing_to_ask() -> None:
    assert access_list([], []) is None


async def test_address_as_resolved_is_judged_and_the_service_never_asked(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    reached = []

    async def note(request: web.BaseRequest) -> web.Response:
        reached.append(request.headers["X-Real-IP"])
        return web.Response()

    routes = table(await start_upstream(note), allow='["192.0.2.0/24"]', limits='["general"]')
    edge = await start_edge(routes, TRUSTED_PROXIES="127.0.0.1")
    for address, status in (("192.0.2.9", 200), ("198.51.100.1", 403), ("192.0.2.9, 198.51.100.1", 403)):
        async with edge.client.get("/", headers={"X-Forwarded-For": address}) as response:
            assert response.status == status
            if status == 403:
                body = await response.json()
                assert (body["error"], body["path"]) == ("Forbidden", "/")
                assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert reached == ["192.0.2.9"]


def test_one_variable_may_hold_a_whole_list(tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(
        '[upstream.a]\nservers = ["http://127.0.0.1:1"]\n'
        '[[route]]\npath = "/"\nupstream = "a"\nallow = ["env:OFFICE"]\n'
    )
    read = read_table(file, {"OFFICE": "10.0.0.0/8, 192.0.2.7"}.get)
    assert [str(network) for network in read.routes[0].allow] == ["10.0.0.0/8", "192.0.2.7/32"]


@pytest.mark.parametrize(
    "line", ['allow = ["10.0.0.0/33"]', 'deny = ["example.com"]', 'deny = "10.0.0.1"', "allow = [1]"]
)
def test_what_is_no_address_is_a_fault_of_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(f'[upstream.a]\nservers = ["http://127.0.0.1:1"]\n[[route]]\npath = "/"\nupstream = "a"\n{line}\n')
    with pytest.raises(TableError, match=r"routes.toml:6: (allow|deny): "):
        read_table(file, lambda _name: None)
