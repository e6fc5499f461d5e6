"""Finds the route of a request: longest path by whole segments, then host, then method."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import MethodNotAllowed, NotFound
from common.http1 import Timeouts
from edge.cache.rules import CacheRules
from edge.entries import RouteEntry, StreamEntry, Table
from edge.policies.access import AccessList, access_list
from edge.policies.header_rules import HeaderRules, compiled, security_lines
from edge.route_limits import LimitTable, RouteLimits


@dataclass(frozen=True, slots=True)
class Route:
    """One route, ready to use: sizes in bytes, hosts lower-case, limits as rules.

    limits     what refuses its calls
    watched    what only counts them; None nearly everywhere
    access     from which addresses it may be called; None from any
    """

    path: str
    upstream: str
    auth: str
    limits: RouteLimits
    watched: RouteLimits | None
    access: AccessList | None
    counts_for_ban: bool
    hosts: tuple[str, ...]
    methods: frozenset[str]
    permission: str | None
    rewrite: str | None  # what the upstream sees in place of `path`, without a slash at its end
    body_bytes_max: int
    timeouts: Timeouts
    retries: int
    speaks_openai: bool
    pass_authorization: bool
    request_rules: HeaderRules | None
    response_rules: HeaderRules | None
    security: bytes
    compresses: bool
    cache: CacheRules | None
    websocket: bool
    stream: StreamEntry | None  # bounds for its WebSockets, and for every answer when `stream_answers`
    stream_answers: bool

    def takes(self, host: str) -> bool:
        return not self.hosts or any(host_matches(pattern, host) for pattern in self.hosts)


def host_matches(pattern: str, host: str) -> bool:
    """`*.example.com` covers every name below it, not example.com itself."""
    return host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]))


class Router:
    """Cost grows with the depth of a path, never with the number of routes."""

    def __init__(self, table: Table, limits: LimitTable, body_bytes_max: int, *, compresses: bool = True) -> None:
        self._by_path: dict[str, list[Route]] = {}
        for entry in table.routes:
            route = _compile(entry, limits, body_bytes_max, compresses)
            self._by_path.setdefault(route.path.rstrip("/"), []).append(route)
        for routes in self._by_path.values():
            routes.sort(key=_specificity)
        # Most paths have one route for every host and method, which needs no choice.
        self._sole = {
            path: routes[0]
            for path, routes in self._by_path.items()
            if len(routes) == 1 and not routes[0].hosts and not routes[0].methods
        }
        self._depth = max((path.count("/") for path in self._by_path), default=0)

    @property
    def hosts(self) -> set[str]:
        """Every host that a route names, wildcards too."""
        return {host for routes in self._by_path.values() for route in routes for host in route.hosts}

    def find(self, host: str, path: str, method: str) -> Route:
        """`path` is a normal path without query. Raises NotFound or MethodNotAllowed."""
        prefix = "/".join(path.split("/", self._depth + 1)[: self._depth + 1])
        while True:
            if (sole := self._sole.get(prefix)) is not None:
                return sole
            candidates = [route for route in self._by_path.get(prefix, ()) if route.takes(host)]
            if candidates:
                return _by_method(candidates, method)
            if not prefix:
                raise NotFound
            prefix = prefix.rpartition("/")[0]


def _by_method(candidates: Sequence[Route], method: str) -> Route:
    for route in candidates:
        if not route.methods or method in route.methods:
            return route
    raise MethodNotAllowed(sorted(frozenset[str]().union(*(route.methods for route in candidates))))


def _specificity(route: Route) -> tuple[bool, bool, bool]:
    wildcard = any(host.startswith("*.") for host in route.hosts)
    return (not route.hosts, wildcard, not route.methods)


def _compile(entry: RouteEntry, limits: LimitTable, body_bytes_max: int, compresses: bool) -> Route:
    request, response = entry.headers.request, entry.headers.response
    response_rules = compiled(response.set, response.remove)
    timeout, stream = entry.timeout, entry.stream
    return Route(
        path=entry.path,
        upstream=entry.upstream,
        auth=entry.auth,
        limits=limits.enforced(entry.limits),
        watched=limits.watched(entry.limits),
        access=access_list(entry.allow, entry.deny),
        counts_for_ban=entry.counts_for_ban,
        hosts=tuple(host.lower() for host in entry.hosts),
        methods=frozenset(entry.methods),
        permission=entry.permission,
        rewrite="" if entry.strip_prefix else entry.rewrite and entry.rewrite.rstrip("/"),
        body_bytes_max=body_bytes_max if entry.body_max is None else entry.body_max,
        timeouts=Timeouts(timeout.connect, timeout.first_byte, timeout.idle if stream is None else stream.idle),
        retries=entry.retries,
        speaks_openai=entry.errors == "openai",
        pass_authorization=entry.pass_authorization,
        request_rules=compiled(request.set, request.remove),
        response_rules=response_rules,
        security=security_lines(response_rules),
        compresses=compresses if entry.compress is None else entry.compress,
        cache=_cache_rules(entry),
        websocket=entry.websocket,
        stream=stream or (StreamEntry() if entry.websocket else None),
        stream_answers=stream is not None,
    )


def _cache_rules(entry: RouteEntry) -> CacheRules | None:
    if entry.cache is None:
        return None
    hides_cookies = any(name.lower() == "cookie" for name in entry.headers.request.remove)
    return CacheRules(
        seconds=entry.cache.seconds,
        is_shared=entry.cache.shared,
        ignores_cookies=entry.cache.shared or hides_cookies,
        bytes_max=entry.cache.bytes_max,
    )
