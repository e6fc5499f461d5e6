"""What fails in the edge itself is reported; what fails behind it is not the edge's report."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from aiohttp import web

from common import error_tracking
from edge.router import Router
from tests.edge.conftest import StartEdge, StartUpstream, table
from tests.sentry import sentry


@dataclass
class Production:
    sentry_dsn: str
    env: str = "production"
    is_production: bool = True
    sentry_traces_sample_rate: float = 1


@pytest.fixture
def reporting() -> Iterator[None]:
    def drop(_logger: Any, _method: str, _event: Any) -> Any:
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[error_tracking.report, drop], cache_logger_on_first_use=False)
    yield
    structlog.configure(**before)


async def test_fault_of_the_edge_is_reported_and_failures_behind_it_are_not(
    start_edge: StartEdge, start_upstream: StartUpstream, reporting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=500)

    def break_(*_: Any) -> None:
        raise ZeroDivisionError("the table is broken")

    edge = await start_edge(table(await start_upstream(fail)))
    with sentry() as server:
        async with error_tracking.error_tracking(Production(server.dsn), "edge"):
            async with edge.client.get("/fails") as response:
                assert response.status == 500
            monkeypatch.setattr(Router, "find", break_)
            async with edge.client.get("/broken/with/ids", headers={"X-Request-ID": "req-of-the-test"}) as response:
                assert response.status == 500
                assert (await response.json())["error"] == "InternalServerError"
        (event,) = server.of("event")
        transactions = server.of("transaction")
    assert event["exception"]["values"][0]["type"] == "ZeroDivisionError"
    assert event["tags"] == {"service": "edge", "log_event": "edge_failed", "request_id": "req-of-the-test"}
    assert [one["transaction"] for one in transactions] == ["GET /", "GET unmatched"]
    assert {one["contexts"]["trace"]["status"] for one in transactions} == {"internal_error"}
