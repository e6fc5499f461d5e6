"""docs/coming-from.md is true today: what it says is read is read, what it says comes later is not there yet."""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest

from edge.health import PATHS
from tests.architecture.services import routes
from tests.architecture.sources import ROOT
from tests.architecture.variables import all_read

DOCUMENT = (ROOT / "docs" / "coming-from.md").read_text()
PARTS = ("Edge engine", "Identity", "Console", "Modules", "Completions", "Operations", "League")

# Section 1 of what the five guides ask names these; each must have a line.
OF_THE_GUIDES = frozenset(
    {
        "ACCESS_TOKEN_EXPIRE_MINUTES",
        "ADMIN_FIRST",
        "ALGORITHM",
        "ALLOWED_ORIGINS",
        "API_ADMIN_TOKEN",
        "API_DESCRIPTION",
        "API_HOST",
        "API_PORT",
        "API_SECRET_KEY",
        "API_TITLE",
        "API_VERSION",
        "DASHBOARD_MASTER_PASSWORD",
        "DATABASE_POOL_MAX",
        "DATABASE_POOL_MIN",
        "DATABASE_TIMEOUT",
        "DATABASE_URL",
        "DEBUG",
        "DEEPSEEK_API_KEY",
        "DOMAIN1",
        "DOMAIN2",
        "DOMAIN3",
        "DOMAIN4",
        "DOMAIN5",
        "ENABLE_DASHBOARD",
        "ENV",
        "JWT_REFRESH_SECRET",
        "JWT_SECRET",
        "LETSENCRYPT_EMAIL",
        "LOG_LEVEL",
        "NEXT_PUBLIC_API_URL",
        "NODE_ENV",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_ORIGINAL_API_KEY",
        "OPENROUTER_API_KEY",
        "PORT",
        "RATE_LIMIT_MAX",
        "RATE_LIMIT_WINDOW_MS",
        "REDIS_URL",
        "REFRESH_TOKEN_EXPIRE_DAYS",
        "RIOT_API_KEY",
        "ROUTER_IP",
        "SECRET_KEY",
        "SENTRY_DSN",
        "SUPABASE_SERVICE_KEY",
        "SUPABASE_URL",
    }
)


class Line(NamedTuple):
    theirs: str
    ours: str
    today: str


def lines() -> Iterator[Line]:
    for line in DOCUMENT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[2] != "today" and set(cells[0]) != {"-"}:
            yield Line(*cells)


def variables() -> Iterator[tuple[str, Line]]:
    for line in lines():
        if match := re.fullmatch(r"`([A-Z][A-Z0-9_]+)`", line.theirs):
            yield match[1], line


@cache
def served() -> set[str]:
    """`GET /api/v1/expenses/{}`: everything that a client can reach."""
    declared = {f"{route.method} {re.sub(r'{[^}]*}', '{}', route.path)}" for _, route in routes()}
    return declared | {f"GET {path}" for path in PATHS}


def calls(text: str) -> list[str]:
    """The calls in a cell, path parameters without their names."""
    found = re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^` ?]*)`", text)
    return [re.sub(r"{[^}]*}", "{}", call) for call in found]


def test_every_line_says_what_holds_today() -> None:
    known = {"yes", "no", *(f"not yet ({part})" for part in PARTS)}
    assert [line for line in lines() if line.today not in known] == []
    assert sum(1 for _ in lines()) > 100


def test_every_variable_of_the_guides_has_a_line() -> None:
    assert OF_THE_GUIDES - {name for name, _ in variables()} == set()


def test_variable_is_read_exactly_where_the_page_says_so() -> None:
    read = all_read()
    claimed = {name: line.today == "yes" for name, line in variables()}
    assert claimed == {name: name in read for name in claimed}


def test_settings_that_are_recommended_are_read() -> None:
    later = {name for name, line in variables() if line.today.startswith("not yet")}
    named = {
        name
        for line in lines()
        if line.today != "no" or not line.theirs.startswith("`")
        for name in re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", line.ours)
    }
    assert named - later - all_read() - {"NAME_FILE"} == set()
    assert {"TRUSTED_PROXIES", "EDGE_WORKERS"} <= named


@pytest.mark.parametrize("line", [line for line in lines() if calls(line.ours)], ids=lambda line: line.ours[:60])
def test_path_is_served_unless_the_page_says_not_yet(line: Line) -> None:
    for call in calls(line.ours):
        assert (call in served()) != line.today.startswith("not yet"), call
