"""A real client's way through the edge, to be taken before and after whatever must not lose data."""

import http.client
import json
import time
from contextlib import closing
from typing import Any, NamedTuple

_SECONDS = 15.0
_READY_POLL_SECONDS = 0.5


class JourneyFailed(Exception):
    """Which step, and what was answered instead."""


class Traces(NamedTuple):
    """What the journey left behind: a key, and the one expense its owner sees."""

    api_key: str
    expense_id: str


class Edge:
    """Calls over HTTP; every answer is checked."""

    def __init__(self, port: int) -> None:
        self._port = port

    def call(
        self, method: str, path: str, body: Any = None, *, authorization: str = "", expected: int = 200
    ) -> dict[str, Any]:
        """The answer's JSON. Raises JourneyFailed for another status, OSError when nothing answers."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": authorization} if authorization else {})
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=_SECONDS)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode()
        if response.status != expected:
            raise JourneyFailed(f"{method} {path} answered {response.status}, not {expected}: {text}")
        answer: dict[str, Any] = json.loads(text or "{}")
        return answer

    def wait_ready(self, seconds: float) -> None:
        """Until `/health/ready` is 200. Raises JourneyFailed."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.call("GET", "/health/ready")
                return
            except (JourneyFailed, OSError, http.client.HTTPException) as error:
                if time.monotonic() > deadline:
                    raise JourneyFailed(f"not ready within {seconds:g} s: {error}") from None
            time.sleep(_READY_POLL_SECONDS)


def travel(edge: Edge) -> Traces:
    """Register, log in, a category, an expense in it, an API key that sees them."""
    account = {"email": "traveller@example.com", "password": "a long way through the edge"}
    edge.call("POST", "/api/v1/auth/register", account, expected=201)
    bearer = f"Bearer {edge.call('POST', '/api/v1/auth/login', account)['data']['accessToken']}"
    category = edge.call("POST", "/api/v1/categories", {"name": "Voyages"}, authorization=bearer, expected=201)["data"]
    spent = {"amount": "25.50", "date": "2025-11-21", "category_id": category["id"], "description": "ferry"}
    expense = edge.call("POST", "/api/v1/expenses", spent, authorization=bearer, expected=201)["data"]
    key = edge.call("POST", "/api/v1/api-keys", {"name": "traveller"}, authorization=bearer, expected=201)["data"]
    traces = Traces(key["key"], expense["id"])
    look_again(edge, traces)
    return traces


def look_again(edge: Edge, traces: Traces) -> None:
    """The key still works and still sees the one expense."""
    page = edge.call("GET", "/api/v1/expenses", authorization=f"ApiKey {traces.api_key}")["data"]
    seen = [(item["id"], item["amount"]) for item in page["items"]]
    if seen != [(traces.expense_id, "25.50")]:
        raise JourneyFailed(f"the expense is not there as it was: {seen}")
