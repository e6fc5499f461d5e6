"""Limits of tiers and of single keys, and classes that only count."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis import Redis
from structlog.testing import capture_logs

from common import api_keys
from common.limits import Rule
from common.settings import SettingsError, load
from edge.app import read_settings
from edge.route_limits import LimitTable
from edge.settings import EdgeSettings
from edge.table import TableError
from edge.tiers import read_tiers
from tests.edge.conftest import Edge, StartEdge, StartUpstream, table

LIMITS = {
    "general": Rule("general", 100, 60),
    "auth": Rule("auth", 5, 900),
    "search": Rule("search", 60, 60),
    "email": Rule("email", 100, 3600),
    "ai": Rule("ai", 50, 3600),
}
USER, ORG, KEY = (f"00000000-0000-7000-8000-00000000000{digit}" for digit in "123")


class Auth:
    """A stand-in for the auth service that knows every key; what it says of them is the tests' to change."""

    def __init__(self, start_upstream: StartUpstream) -> None:
        self._start = start_upstream
        self.known: dict[str, Any] = {}

    async def open(self) -> str:
        return await self._start(self._answer)

    def key(self, tier: str, limit: dict[str, int] | None = None, key: str = KEY) -> dict[str, str]:
        """The headers of a caller of that tier."""
        made = api_keys.make()
        self.known[made] = {"user": USER, "org": ORG, "role": "user", "tier": tier, "key": key, "limit": limit}
        return {"Authorization": f"ApiKey {made}"}

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/internal/keys/resolve":
            found = self.known[(await request.json())["key"]]
            return web.json_response({"data": {**found, "permissions": [], "expires_at": None}})
        if request.path == "/internal/revocations":
            return web.json_response({"data": {"items": [], "latest": 0}})
        if request.path == "/.well-known/jwks.json":
            return web.json_response({"keys": []})
        return web.Response()


@pytest.fixture
def auth(start_upstream: StartUpstream) -> Auth:
    return Auth(start_upstream)


async def start(start_edge: StartEdge, auth: Auth, limits: str, redis_url: str = "", **environ: str) -> Edge:
    url = await auth.open()
    routes = table(url, "/", auth='"required"', limits=limits)
    return await start_edge(routes, AUTH_URL=url, REDIS_URL=redis_url, **environ)


async def get(edge: Edge, headers: dict[str, str]) -> tuple[int, int]:
    """Status and X-RateLimit-Limit."""
    async with edge.client.get("/", headers=headers) as response:
        return response.status, int(response.headers["X-RateLimit-Limit"])


def read(path: Path, text: str) -> Any:
    path.write_text(text)
    return read_tiers(path, LIMITS)


def test_tiers_that_ship_multiply_every_class_of_a_caller() -> None:
    shipped = read_tiers(EdgeSettings.model_validate({}).edge_limits, LIMITS)
    assert {tier: rules["general"].limit for tier, rules in shipped.items()} == {
        "starter": 300,
        "pro": 1000,
        "enterprise": 5000,
    }
    assert all(rules.keys() == LIMITS.keys() - {"auth"} for rules in shipped.values())


def test_number_multiplies_text_replaces_and_the_rest_is_everybodys(tmp_path: Path) -> None:
    tiers = read(tmp_path / "l.toml", '[tier.pro]\ngeneral = 2.5\nsearch = "7/30"\n')
    table = LimitTable(LIMITS, tiers).enforced(["general", "auth", "search", "ai"])
    assert table.by_tier["pro"] == (Rule("general", 250, 60), Rule("search", 7, 30), LIMITS["ai"])
    assert table.by_caller == (LIMITS["general"], LIMITS["search"], LIMITS["ai"])
    assert table.by_address == (LIMITS["auth"],)  # an address has no tier


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "l.toml"
    text = (
        'tiers = 1\n\n[tier.a]\ngeneral = "many"\nauth = 3\ncolour = 1\n\n'
        '[tier."b c"]\nsearch = 0\nai = true\nemail = [1]\n\n[tier.c]\ngeneral = nan\n'
    )
    with pytest.raises(TableError) as caught:
        read(file, text)
    assert [line.removeprefix(f"{file}:") for line in str(caught.value).splitlines()] == [
        "1: unknown field 'tiers'",
        '4: limit general: expected "count/seconds" such as "100/60", got \'many\'',
        "5: auth counts addresses, which have no tier",
        "6: unknown field 'colour'",
        "9: search: a factor must be above zero and at most 1000000",
        '10: ai: must be a number or a text "count/seconds"',
        '11: email: must be a number or a text "count/seconds"',
        "14: general: a factor must be above zero and at most 1000000",
    ]


@pytest.mark.parametrize("text", ["tier = 3", "[tier]\npro = 3", "[tier.pro\n"])
def test_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TableError, match=r"l.toml:\d+: "):
        read(tmp_path / "l.toml", text)


def test_edge_with_a_bad_file_does_not_start_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "l.toml").write_text("[tier.pro]\ngeneral = -1\n")
    environ = {"EDGE_LIMITS": str(tmp_path / "l.toml"), "LIMIT_SHADOW": "search,nothing"}
    with pytest.raises(SettingsError, match=r"LIMIT_SHADOW: 'nothing' is none of general"):
        load(EdgeSettings, environ)
    keys = {"AUTH_SERVICE_KEY": "a" * 40, "CORE_SERVICE_KEY": "c" * 40}
    with pytest.raises(TableError, match=r"^\S+l.toml:2: general: a factor"):
        read_settings({**keys, **environ, "LIMIT_SHADOW": ""})
    with pytest.raises(TableError, match=r"^\S+absent.toml:1: cannot be read"):
        read_settings({**keys, "EDGE_LIMITS": str(tmp_path / "absent.toml")})


async def test_headers_show_the_tiers_own_limit(start_edge: StartEdge, auth: Auth) -> None:
    edge = await start(start_edge, auth, '["general"]', LIMIT_GENERAL="20/60")
    for tier, limit in (("free", 20), ("starter", 60), ("pro", 200), ("enterprise", 1000), ("unheard-of", 20)):
        assert await get(edge, auth.key(tier)) == (200, limit)


async def test_smaller_limit_of_a_tier_is_enforced(start_edge: StartEdge, auth: Auth, tmp_path: Path) -> None:
    (tmp_path / "l.toml").write_text('[tier.free]\ngeneral = "2/60"\n')
    edge = await start(start_edge, auth, '["general"]', EDGE_LIMITS=str(tmp_path / "l.toml"))
    free = auth.key("free")
    assert [await get(edge, free) for _ in range(3)] == [(200, 2), (200, 2), (429, 2)]
    assert await get(edge, auth.key("pro")) == (200, 100)  # the same user, promoted: what was used stays used


async def test_call_of_a_key_counts_for_its_owner_and_for_itself_or_for_neither(
    start_edge: StartEdge, auth: Auth, clean_redis_url: str
) -> None:
    edge = await start(start_edge, auth, '["general"]', clean_redis_url)
    narrow = auth.key("free", {"count": 2, "seconds": 60})
    with Redis.from_url(clean_redis_url) as store:
        before = calls_of_the_script(store)
        assert [await get(edge, narrow) for _ in range(3)] == [(200, 2), (200, 2), (429, 2)]
        assert calls_of_the_script(store) - before == 3  # one call for both rules, whatever it answers
        tag = f"gatehouse:limit:{{user:{USER}}}"
        assert (store.llen(f"{tag}:general"), store.llen(f"{tag}:key:{KEY}")) == (2, 2)
    other = auth.key("free", key=KEY[:-1] + "4")
    async with edge.client.get("/", headers=other) as response:
        assert response.headers["X-RateLimit-Remaining"] == "97"  # the refused call took nothing from the owner


def calls_of_the_script(store: Redis) -> int:
    stats: dict[str, Any] = store.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_class_in_shadow_counts_logs_and_never_refuses(
    start_edge: StartEdge, auth: Auth, clean_redis_url: str
) -> None:
    with capture_logs() as lines:
        edge = await start(
            start_edge,
            auth,
            '["general", "search"]',
            clean_redis_url,
            LIMIT_GENERAL="20/60",
            LIMIT_SEARCH="3/60",
            LIMIT_SHADOW="search",
        )
        caller = auth.key("free")
        assert {await get(edge, caller) for _ in range(20)} == {(200, 20)}  # headers speak of what is enforced
        assert await get(edge, caller) == (429, 20)
        async with asyncio.timeout(5):
            while (await outcomes(edge))["search.shadow"] != (3, 17):
                await asyncio.sleep(0.01)
    (first, *more) = [line for line in lines if line["event"] == "limit_would_refuse"]
    assert (first["limit"], first["subject"], first["route"]) == ("search.shadow", f"user:{USER}", "/")
    assert len(more) < 16  # a second's refusals share a line
    assert "search" not in await outcomes(edge)


async def test_anonymous_calls_are_watched_by_address(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    async def ok(_request: web.BaseRequest) -> web.Response:
        return web.Response()

    routes = table(await start_upstream(ok), limits='["general", "auth"]')
    edge = await start_edge(routes, LIMIT_GENERAL="2/60", LIMIT_AUTH="1/60", LIMIT_SHADOW="general,auth")
    statuses = Counter()
    for _ in range(4):
        async with edge.client.get("/") as response:
            statuses[response.status, "X-RateLimit-Limit" in response.headers] += 1
    assert statuses == {(200, False): 4}
    assert (await outcomes(edge))["auth.shadow"][1] == 3


async def outcomes(edge: Edge) -> dict[str, tuple[float, float]]:
    """By rule: allowed, denied."""
    found: dict[str, dict[str, float]] = {}
    for _, _, _, samples in await edge.runtime.merged_metrics():
        for name, labels, value in samples:
            if name == "limit_decisions_total":
                found.setdefault(dict(labels)["limit"], {})[dict(labels)["outcome"]] = value
    return {limit: (counts["allowed"], counts["denied"]) for limit, counts in found.items()}
