"""Error tracking against a stand-in that takes real envelopes."""

import asyncio
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from common import error_tracking, settings
from common.error_tracking import FLUSH_SECONDS
from common.error_tracking.scrub import scrub
from common.error_tracking.tracker import REPORTS_PER_MINUTE_MAX
from common.errors import NotFound, ServiceUnavailable
from common.routes import TEMPLATE
from common.runtime import VERSION
from common.service import create_service
from common.settings import Settings, SettingsError
from common.worker import Worker
from tests.sentry import Sentry, sentry

KEY = {"Authorization": "ApiKey key-of-the-tests"}


@dataclass
class Given:
    sentry_dsn: str
    env: str = "production"
    sentry_traces_sample_rate: float = 0

    @property
    def is_production(self) -> bool:
        return self.env == "production"


@pytest.fixture
def server() -> Iterator[Sentry]:
    with sentry() as standing_in:
        yield standing_in


@pytest.fixture
def entries() -> Iterator[list[dict[str, Any]]]:
    """The log of the test, through the processor that reports."""
    lines: list[dict[str, Any]] = []

    def keep(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        lines.append(event)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, error_tracking.report, keep],
        cache_logger_on_first_use=False,
    )
    yield lines
    structlog.configure(**before)


Start = Callable[[Given], Awaitable[TestClient[Any, Any]]]


@pytest.fixture
async def start(entries: list[dict[str, Any]]) -> AsyncIterator[Start]:
    """A service with routes that fail in every way, with these settings."""
    async with AsyncExitStack() as stack:

        async def serve(given: Given) -> TestClient[Any, Any]:
            app = create_service("sample", service_key="key-of-the-tests", runtime=Worker(), checks={})
            app.cleanup_ctx.append(error_tracking.context(given, "sample"))
            app.router.add_route("*", "/{kind}", fail)
            return await stack.enter_async_context(TestClient(TestServer(app)))

        yield serve


async def fail(request: web.Request) -> web.Response:
    request[TEMPLATE] = "/{kind}"
    match request.match_info["kind"]:
        case "broken":
            raise RuntimeError("it broke")
        case "personal":
            given = await request.json()  # from afar, because source lines are sent
            cause = ValueError(f"no account {given['email']}, header Bearer {given['key']}")
            raise RuntimeError(f"duplicate key\nDETAIL:  Key (name)=({given['name']}) already exists.") from cause
        case "missing":
            raise NotFound
        case "away":
            raise ServiceUnavailable
        case "nowhere":
            raise web.HTTPNotFound
    return web.Response()


async def test_unhandled_exception_is_reported_once_with_its_request(start: Start, server: Sentry) -> None:
    client = await start(Given(server.dsn))
    answer = await client.get("/broken", headers=KEY | {"X-Request-ID": "req-of-the-test"})
    assert answer.status == 500
    await client.close()
    (event,) = server.of("event")
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("RuntimeError", "it broke")
    assert exception["mechanism"]["handled"] is False
    assert exception["stacktrace"]["frames"][-1]["function"] == "fail"
    assert event["tags"] == {"service": "sample", "log_event": "request_failed", "request_id": "req-of-the-test"}
    assert (event["release"], event["environment"]) == (f"gatehouse@{VERSION}", "production")
    assert event["server_name"] == socket.gethostname()


async def test_what_clients_do_wrong_and_what_is_away_is_no_report(start: Start, server: Sentry) -> None:
    client = await start(Given(server.dsn))
    statuses = [(await client.get(path, headers=KEY)).status for path in ("/missing", "/away", "/nowhere", "/fine")]
    statuses.append((await client.get("/broken")).status)  # without the key
    assert statuses == [404, 503, 404, 200, 401]
    await client.close()
    assert server.items == []


@pytest.mark.parametrize("piece", ["a", "-eyJ", "input_value=", " ", "://x", "mail@"])
def test_a_long_text_costs_no_time_and_loses_no_half_word(piece: str) -> None:
    event: Any = {"exception": {"values": [{"value": f"no account {piece * 100_000}"}]}}
    started = time.process_time()
    scrub(event, {})
    assert time.process_time() - started < 1
    (exception,) = event["exception"]["values"]
    assert exception["value"].startswith("no account")
    assert exception["value"].endswith(" [cut]")
    address = f"{'word ' * 398}alice@example.com and more"
    cut: Any = {"exception": {"values": [{"value": address}]}}
    scrub(cut, {})
    assert "alice" not in cut["exception"]["values"][0]["value"]


async def test_report_names_nobody_and_carries_no_credential(start: Start, server: Sentry) -> None:
    client = await start(Given(server.dsn, sentry_traces_sample_rate=1))
    headers = KEY | {"Cookie": "session=crumbs", "X-Gatehouse-User": "0190a0a0-0000-7000-8000-00000000beef"}
    headers |= {"X-Gatehouse-Org": "0190a0a0-0000-7000-8000-00000000cafe", "X-Gatehouse-Role": "user"}
    headers |= {"X-Forwarded-For": "198.51.100.7"}
    body = {"email": "alice@example.com", "key": "sk_live_abc", "name": "Alice Liddell", "password": "hunter2"}
    await client.post("/personal?q=searched", headers=headers, json=body)
    await client.close()
    assert [kind for kind, _ in server.items] == ["event", "transaction"]
    sent = b"\n".join(server.envelopes)
    assert b"duplicate key" in sent
    for private in (b"hunter2", b"alice@", b"Alice", b"sk_live", b"key-of-the-tests", b"crumbs", b"searched"):
        assert private not in sent, private
    for private in (b"beef", b"cafe", b"198.51.100.7"):
        assert private not in sent, private


async def test_background_loop_that_fails_at_every_turn_is_reported_once(
    entries: list[dict[str, Any]], server: Sentry
) -> None:
    log = structlog.get_logger()

    def turn(data: dict[str, int]) -> None:
        try:
            data["latest"]
        except KeyError:
            log.exception("purge_failed")

    async with error_tracking.error_tracking(Given(server.dsn), "core"):
        for _ in range(5):
            turn({})
        log.exception("purge_failed", exc_info=KeyError("another place"))
        log.warning("purge_failed", exc_info=ValueError("a warning is no unhandled exception"))
    assert [event["exception"]["values"][0]["value"] for event in server.of("event")] == ["'latest'", "'another place'"]
    assert server.of("event")[0]["tags"] == {"service": "core", "log_event": "purge_failed"}
    assert [entry["event"] for entry in entries] == ["purge_failed"] * 7


async def test_flood_of_exceptions_is_reported_up_to_a_bound(start: Start, server: Sentry) -> None:
    client = await start(Given(server.dsn))
    for _ in range(2 * REPORTS_PER_MINUTE_MAX + 10):
        assert (await client.get("/broken", headers=KEY)).status == 500
        await asyncio.sleep(0)
    await client.close()
    assert 0 < len(server.of("event")) <= 2 * REPORTS_PER_MINUTE_MAX  # the minute may end in between


async def test_development_reports_nothing_and_says_so(
    start: Start, server: Sentry, entries: list[dict[str, Any]]
) -> None:
    client = await start(Given(server.dsn, env="development", sentry_traces_sample_rate=1))
    assert (await client.get("/broken", headers=KEY)).status == 500
    await client.close()
    assert server.items == []
    (said,) = [entry for entry in entries if entry["event"] == "error_tracking_off"]
    assert said["setting"] == "SENTRY_DSN"
    assert "development" in said["reason"]


@pytest.mark.parametrize("reads", [True, False])
async def test_server_that_hangs_or_refuses_slows_nothing(
    start: Start, entries: list[dict[str, Any]], reads: bool
) -> None:
    """Bound, and listening or not: a connection hangs for ever, or is refused."""
    with socket.socket() as stub:
        stub.bind(("127.0.0.1", 0))
        if reads:
            stub.listen()
        client = await start(Given(f"http://public@127.0.0.1:{stub.getsockname()[1]}/42", sentry_traces_sample_rate=1))
        await client.get("/broken", headers=KEY)  # the first one reads the source files
        started = time.monotonic()
        async with asyncio.timeout(10):
            statuses = {(await client.get("/broken", headers=KEY)).status for _ in range(200)}
        assert statuses == {500}
        assert time.monotonic() - started < 5  # each would wait 30 s for a connection that hangs
        started = time.monotonic()
        await client.close()
        assert time.monotonic() - started < FLUSH_SECONDS + 2
    # Neither may the log fill with what Sentry did not take.
    said = Counter(entry["event"] for entry in entries)
    assert said["error_report_lost"] == 1
    assert 1 <= said["error_reports_paused"] <= 2


async def test_sampled_requests_are_one_trace_over_all_services(server: Sentry) -> None:
    ids = [f"req_1795403714_{number:09d}" for number in range(2000)]
    for service in ("edge", "core"):
        async with error_tracking.error_tracking(Given(server.dsn, sentry_traces_sample_rate=0.02), service):
            for number, request_id in enumerate(ids):
                error_tracking.trace(request_id, "GET /api/v1/expenses", 200 if number % 2 else 404, 0.25)
                await asyncio.sleep(0)
    of = {
        service: [one for one in server.of("transaction") if one["tags"]["service"] == service]
        for service in ("edge", "core")
    }
    assert 10 <= len(of["edge"]) <= 80
    assert [one["tags"]["request_id"] for one in of["edge"]] == [one["tags"]["request_id"] for one in of["core"]]
    for edge, core in zip(of["edge"], of["core"], strict=True):
        ours, theirs = edge["contexts"]["trace"], core["contexts"]["trace"]
        assert ours["trace_id"] == theirs["trace_id"]
        assert theirs["parent_span_id"] == ours["span_id"] != theirs["span_id"]
        assert edge["transaction"] == "GET /api/v1/expenses"
        number = int(edge["tags"]["request_id"][-9:])
        assert ours["status"] == ("ok" if number % 2 else "not_found")
    assert server.of("event") == []


def test_library_is_not_imported_where_no_dsn_is_set() -> None:
    program = "import sys, edge.app, auth_service.app, core_service.app; sys.exit('sentry_sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    "dsn",
    [
        "sentry.example.com",
        "https://example.com/1",
        "https://hidden@example.com/",
        "https://hidden@:x/1",
        "https://[hidden/1",
    ],
)
def test_wrong_dsn_is_a_fault_that_names_the_setting_and_not_its_value(dsn: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load(Settings, {"SENTRY_DSN": dsn, "SENTRY_TRACES_SAMPLE_RATE": "2"})
    dsn_line, rate_line = str(caught.value).splitlines()
    assert dsn_line.startswith("SENTRY_DSN")
    assert "https://key@host/project" in dsn_line
    assert "hidden" not in dsn_line
    assert rate_line.startswith("SENTRY_TRACES_SAMPLE_RATE")


def test_missing_library_is_a_fault_in_production_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    dsn = "https://public@sentry.example.com/42"
    with pytest.raises(SettingsError, match=r"SENTRY_DSN.*pip install 'gatehouse\[sentry\]'"):
        settings.load(Settings, {"ENV": "production", "SENTRY_DSN": dsn})
    assert settings.load(Settings, {"SENTRY_DSN": dsn}).sentry_dsn == dsn
