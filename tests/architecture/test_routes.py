"""Every route says who may call it and what it does, and the edge lets through exactly what it should."""

import re
from collections import Counter

import pytest
from aiohttp import web

from common.errors import NotFound
from common.permissions import PERMISSION
from common.routes import ROUTES, Access, Route
from edge.health import PATHS
from tests.architecture.services import applications, edge_router, routes

PREFIXES = ("/api/v1/", "/.well-known/", "/internal/")
UNDECLARED = {*PATHS, "/metrics"}  # the kit's own, the same on every service
ALL = routes()


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def concrete(route: Route) -> str:
    return re.sub(r"{\w+}", "00000000-0000-7000-8000-000000000000", route.path)


def is_internal(route: Route) -> bool:
    return route.path.startswith("/internal/")


@pytest.fixture(params=ALL, ids=lambda entry: named(entry[1]))
def entry(request: pytest.FixtureRequest) -> tuple[str, Route]:
    service_and_route: tuple[str, Route] = request.param
    return service_and_route


def test_route_names_its_permission_and_says_what_it_does(entry: tuple[str, Route]) -> None:
    route = entry[1]
    assert isinstance(route.permission, Access) or PERMISSION.fullmatch(route.permission)
    assert re.fullmatch(r"[A-Z].{5,}[^.\s]", route.summary), "a summary is a phrase without a full stop"
    assert route.path.startswith(PREFIXES)


def test_route_has_models_for_what_goes_in_and_out(entry: tuple[str, Route]) -> None:
    route = entry[1]
    if not route.path.startswith("/.well-known/"):  # shapes that a standard fixes, outside of the envelope
        assert (route.status == 204) == (route.answer is None)
    assert route.body is None or route.method in {"POST", "PUT", "PATCH"}


def test_no_route_is_declared_twice_over_all_services() -> None:
    assert [name for name, count in Counter(named(route) for _, route in ALL).items() if count > 1] == []


def test_nothing_is_served_that_is_not_declared() -> None:
    for app in applications().values():
        served = {_path(resource) for resource in app.router.resources()}
        assert served - {route.path for route in app[ROUTES]} == UNDECLARED


def _path(resource: web.AbstractResource) -> str:
    return resource.canonical


def test_edge_never_reaches_an_internal_route() -> None:
    router = edge_router()
    internal = [route for _, route in ALL if is_internal(route)]
    assert internal
    for route in internal:
        with pytest.raises(NotFound):
            router.find("any.example", concrete(route), route.method)


def test_edge_sends_each_public_route_to_the_service_that_has_it() -> None:
    router = edge_router()
    for service, route in ALL:
        if not is_internal(route):
            assert router.find("any.example", concrete(route), route.method).upstream == service, named(route)


def test_edge_asks_for_a_credential_wherever_the_service_needs_a_caller() -> None:
    router = edge_router()
    for _, route in ALL:
        if is_internal(route):
            continue
        asked = router.find("any.example", concrete(route), route.method).auth
        assert asked in ({"none", "optional"} if route.permission is Access.PUBLIC else {"required"}), named(route)


def test_edge_limits_every_api_route() -> None:
    router = edge_router()
    for _, route in ALL:
        if route.path.startswith("/api/v1/"):
            rules = router.find("any.example", concrete(route), route.method).limits.anonymous
            assert "general" in {rule.name for rule in rules}, named(route)
