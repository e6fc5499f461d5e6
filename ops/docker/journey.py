"""A real client's way through the edge, to be taken before and after whatever must not lose data."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple

TRAVELLER = {"email": "traveller@example.com", "password": "a long way through the edge"}
_SECONDS = 15.0
_READY_POLL_SECONDS = 0.5


class JourneyFailed(Exception):
    """Which step, and what was answered instead."""


class Traces(NamedTuple):
    """What the journey left behind: a key, and the one expense its owner sees."""

    api_key: str
    expense_id: str


class Answer(NamedTuple):
    """`fields` is the body's JSON; header names are lower-case."""

    status: int
    headers: dict[str, str]
    fields: dict[str, Any]


class Edge:
    """Calls over HTTP or, with a `context`, over HTTPS; every answer is checked.

    `address` is where `host` is found: its address by name when not given. Proxies of the environment are not used.
    """

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        address: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._port = port
        self._host = host
        self._address = address or host
        self._context = context

    def call(
        self, method: str, path: str, body: Any = None, *, authorization: str = "", expected: int = 200
    ) -> dict[str, Any]:
        """The answer's JSON. Raises JourneyFailed for another status, OSError when nothing answers."""
        answer = self.ask(method, path, body, {"Authorization": authorization} if authorization else {})
        if answer.status != expected:
            raise JourneyFailed(f"{method} {path} answered {answer.status}, not {expected}: {_shown(answer)}")
        return answer.fields

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Whatever is answered. Raises OSError when nothing is."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body)
        with closing(http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)) as connection:
            connection.sock = self._connect()
            connection.request(method, path, content, sent)
            response = connection.getresponse()
            text = response.read()
        fields = _fields(text, response.getheader("Content-Type", ""))
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, fields)

    def _connect(self) -> socket.socket:
        """Where the name leads, which need not be what its address says."""
        plain = socket.create_connection((self._address, self._port), timeout=_SECONDS)
        if self._context is None:
            return plain
        try:
            return self._context.wrap_socket(plain, server_hostname=self._host)
        except OSError:
            plain.close()
            raise

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
    edge.call("POST", "/api/v1/auth/register", TRAVELLER, expected=201)
    bearer = f"Bearer {edge.call('POST', '/api/v1/auth/login', TRAVELLER)['data']['accessToken']}"
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


def _fields(text: bytes, kind: str) -> dict[str, Any]:
    """A body that is no JSON object is shown as `text`: something in between may have answered."""
    try:
        found = json.loads(text or b"{}") if "json" in kind or not text else None
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"text": text.decode(errors="replace")}


def _shown(answer: Answer) -> str:
    return str(answer.fields.get("text") or json.dumps(answer.fields))
