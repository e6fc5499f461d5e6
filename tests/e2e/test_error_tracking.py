"""A production stack that reports to a stand-in for Sentry: a module breaks, and its stack trace arrives once."""

import secrets
from pathlib import Path

import pytest

from ops.secrets import NAMES
from tests.e2e.conftest import StartStack
from tests.sentry import sentry

pytestmark = pytest.mark.timeout(120)

MODULE = """
import asyncio

import structlog
from aiohttp import web
from common.routes import Access, Route, add_routes

NAME = "shelf"
log = structlog.get_logger()


async def fail(request):
    raise LookupError("the shelf is empty")


async def loop():
    while True:
        try:
            raise ArithmeticError("the loop is bent")
        except ArithmeticError:
            log.exception("loop_failed")
        await asyncio.sleep(0.2)


async def looping(app):
    task = asyncio.create_task(loop())
    yield
    task.cancel()


def setup(app):
    app.cleanup_ctx.append(looping)
    add_routes(
        app, [Route(method="GET", path="/api/v1/shelf", handler=fail, summary="Breaks", permission=Access.SIGNED_IN)]
    )


async def export(connection, user_id):
    return {}


async def purge(connection, user_id):
    return None
"""


def test_exception_of_a_request_and_of_a_loop_arrive_once_each(start_stack: StartStack, empty_directory: Path) -> None:
    package = empty_directory / "acorn" / "shelf"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(MODULE)
    production = {"ENV": "production", "EMBEDDED": "true", "DOMAINS": "127.0.0.1", "PYTHONPATH": str(empty_directory)}
    production |= {name: secrets.token_urlsafe(48) for name in NAMES}
    with sentry() as server:
        stack = start_stack(
            empty_directory,
            MODULES="expenses,acorn.shelf",
            SENTRY_DSN=server.dsn,
            SENTRY_TRACES_SAMPLE_RATE="1",
            **production,
        )
        account = {"email": "alice@example.com", "password": "a long enough passphrase"}
        assert stack.client.post("/api/v1/auth/register", account).status == 201
        token = stack.client.post("/api/v1/auth/login", account).data["accessToken"]
        answer = stack.client.as_(f"Bearer {token}").get("/api/v1/shelf")
        assert (answer.status, answer.body["error"]) == (500, "InternalServerError")
        server.wait_for("event", 2)
        assert stack.gatehouse("down").returncode == 0
    by_event = {event["tags"]["log_event"]: event for event in server.of("event")}
    assert len(server.of("event")) == len(by_event) == 2, "one of each"
    request, loop = by_event["request_failed"], by_event["loop_failed"]
    assert request["tags"]["request_id"] == answer.headers["x-request-id"]
    assert request["exception"]["values"][0]["value"] == "the shelf is empty"
    assert (request["environment"], request["tags"]["service"], loop["tags"]["service"]) == (
        "production",
        "core",
        "core",
    )
    traced = [one for one in server.of("transaction") if one["tags"]["request_id"] == answer.headers["x-request-id"]]
    assert {one["tags"]["service"] for one in traced} == {"edge", "core"}
    assert len({one["contexts"]["trace"]["trace_id"] for one in traced}) == 1
    sent = b"".join(server.envelopes)
    assert all(private not in sent for private in (b"alice", token.encode(), production["CORE_SERVICE_KEY"].encode()))
