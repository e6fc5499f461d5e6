"""One walk through everything a fresh stack offers, over the wire, as a stranger who signs up.

Every endpoint once, authentication, errors, headers, and the logs where they are on this machine. Three of its calls
count as attempts to sign in (five in fifteen minutes are let through from one address). What it makes, it removes.
"""

import json
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from ops.docker.journey import Answer, Edge, JourneyFailed

Tell = Callable[[str], None]
_ENVELOPE = {"success", "error", "message", "statusCode", "timestamp", "path", "method", "requestId"}
_HEADERS = ("x-request-id", "x-content-type-options", "x-frame-options", "strict-transport-security", "referrer-policy")
_LIMITS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


class Walk:
    """One stranger's calls; every one carries an id that begins with `marker`."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self.marker = f"smoke-{secrets.token_hex(6)}"
        self._count = 0
        self.credential = ""

    def __call__(self, method: str, path: str, body: Any = None, *, expected: int = 200, **credential: str) -> Any:
        """`data` of a success, the whole body of anything else. Raises JourneyFailed for another answer."""
        self._count += 1
        request_id = f"{self.marker}-{self._count}"
        authorization = credential.get("credential", self.credential)
        headers = {"X-Request-ID": request_id} | ({"Authorization": authorization} if authorization else {})
        answer = self._edge.ask(method, path, body, headers)
        what = f"{method} {path}"
        if answer.status == 429:
            wait = answer.headers.get("retry-after", "?")
            raise JourneyFailed(f"{what} is limited: try again in {wait} s, or from another address")
        _require(answer.status == expected, f"{what} answered {answer.status}, not {expected}: {answer.fields}")
        _require_headers(what, path, answer, request_id)
        if expected >= 400:
            _require_envelope(what, answer, request_id)
        return answer.fields.get("data", answer.fields)


def run(edge: Edge, tell: Tell) -> str:
    """The marker of its request ids. Raises JourneyFailed or OSError with the first thing that is not as it must be."""
    walk = Walk(edge)
    password = f"{secrets.token_urlsafe(18)} smoke"
    account = {"email": f"{walk.marker}@example.com", "password": password}
    for title, step in (("health", _health), ("errors", _errors)):
        step(walk)
        tell(title)
    _sign_up(walk, account)
    tell("sign-up and sign-in")
    try:
        for title, step in (("profile", _profile), ("expenses", _expenses), ("API keys", _keys)):
            step(walk)
            tell(title)
        _sessions(walk, account)
        tell("sessions and passwords")
    finally:
        walk("DELETE", "/api/v1/me", expected=204)
    _require(walk("GET", "/api/v1/me", expected=401)["success"] is False, "a deleted account is let in")
    tell("deleting the account")
    return walk.marker


def _health(walk: Walk) -> None:
    alive = walk("GET", "/health")
    _require(alive["status"] == "healthy", f"/health says {alive['status']}")
    ready = walk("GET", "/health/ready")
    away = [name for name, state in ready["checks"].items() if state != "healthy"]
    _require(not away, f"/health/ready names {', '.join(away)}")
    _require(walk("GET", "/health/db")["database"] == "connected", "/health/db does not say connected")
    _require(bool(walk("GET", "/.well-known/jwks.json")["keys"]), "there are no keys to verify tokens with")


def _errors(walk: Walk) -> None:
    walk("GET", "/api/v1/me", expected=401)
    walk("GET", "/api/v1/me", expected=401, credential="Bearer not.a.token")
    walk("GET", "/api/v1/me", expected=401, credential="ApiKey sk_live_nobodys")
    walk("GET", "/nowhere", expected=404)
    walk("POST", "/api/v1/auth/refresh", {"refreshToken": "nobody's"}, expected=401)
    wrong = walk("POST", "/api/v1/auth/refresh", {"unknown": 1}, expected=422)
    _require(set(wrong["errors"]) >= {"unknown"}, f"422 does not name the unknown field: {wrong['errors']}")
    walk("POST", "/api/v1/auth/refresh", b"{not json", expected=400)


def _sign_up(walk: Walk, account: dict[str, str]) -> None:
    walk("POST", "/api/v1/auth/register", account, expected=201)
    session = walk("POST", "/api/v1/auth/login", account)
    _require(set(session["user"]) >= {"id", "email", "role", "organizationId"}, "the sign-in does not say who it is")
    refreshed = walk("POST", "/api/v1/auth/refresh", {"refreshToken": session["refreshToken"]})
    _require(refreshed["refreshToken"] != session["refreshToken"], "a refresh token is given twice")
    walk.credential = f"Bearer {refreshed['accessToken']}"


def _profile(walk: Walk) -> None:
    name = "Smoke Test"
    walk("PATCH", "/api/v1/me", {"full_name": name})
    _require(walk("GET", "/api/v1/me")["user"]["full_name"] == name, "a changed name is not kept")


def _expenses(walk: Walk) -> None:
    category = walk("POST", "/api/v1/categories", {"name": "Smoke"}, expected=201)
    place = f"/api/v1/categories/{category['id']}"
    walk("PUT", place, {"name": "Smoke test"})
    _require(walk("GET", place)["name"] == "Smoke test", "a changed category is not kept")
    _require(walk("GET", "/api/v1/categories")["total"] == 7, "there are not six categories and the new one")
    spent = {"amount": "25.50", "date": "2025-11-21", "category_id": category["id"], "tags": ["smoke"]}
    expense = walk("POST", "/api/v1/expenses", spent, expected=201)
    one = f"/api/v1/expenses/{expense['id']}"
    _require(walk("GET", one)["amount"] == "25.50", "an amount is not kept exactly")
    walk("PUT", one, {**spent, "amount": "0.01"})
    page = walk("GET", "/api/v1/expenses?tags=smoke&min_amount=0.01&max_amount=0.01&per_page=1")
    _require([item["id"] for item in page["items"]] == [expense["id"]], "a filter does not find the one expense")
    walk("POST", "/api/v1/expenses", {**spent, "amount": "-1"}, expected=422)
    walk("DELETE", one, expected=204)
    walk("GET", one, expected=404)
    walk("DELETE", place, expected=204)


def _keys(walk: Walk) -> None:
    made = walk("POST", "/api/v1/api-keys", {"name": "smoke", "scopes": ["expenses:read"]}, expected=201)
    key, place = made["key"], f"/api/v1/api-keys/{made['id']}"
    _require("key" not in walk("GET", place), "a key is shown twice")
    _require(walk("GET", "/api/v1/api-keys")["total"] == 1, "the list of keys has not the one")
    for scheme in ("ApiKey", "Bearer"):
        walk("GET", "/api/v1/expenses", credential=f"{scheme} {key}")
    walk("POST", "/api/v1/categories", {"name": "No"}, expected=403, credential=f"ApiKey {key}")
    walk("DELETE", place, expected=204)


def _sessions(walk: Walk, account: dict[str, str]) -> None:
    walk("POST", "/api/v1/auth/login", {**account, "password": "not this one"}, expected=401, credential="")
    walk("POST", "/api/v1/auth/logout", {"refreshToken": "another's"}, expected=204, credential="")
    changed = {"currentPassword": account["password"], "newPassword": f"{secrets.token_urlsafe(18)} again"}
    walk("PUT", "/api/v1/me/password", changed, expected=204)


def _require_headers(what: str, path: str, answer: Answer, request_id: str) -> None:
    missing = [name for name in _HEADERS if name not in answer.headers]
    if path.startswith("/api/v1/") and answer.status != 404:
        missing += [name for name in _LIMITS if name not in answer.headers]
    _require(not missing, f"{what}: the answer has no {', '.join(missing)}")
    _require(answer.headers["x-request-id"] == request_id, f"{what}: the request's id is not kept")


def _require_envelope(what: str, answer: Answer, request_id: str) -> None:
    missing = _ENVELOPE - set(answer.fields)
    _require(not missing, f"{what}: the error has no {', '.join(sorted(missing))}")
    _require(answer.fields["requestId"] == request_id, f"{what}: the error names another request")
    _require(answer.fields["statusCode"] == answer.status, f"{what}: the error names another status")


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise JourneyFailed(otherwise)


def require_logged(service: str, lines: Iterable[str], marker: str) -> None:
    """Raises JourneyFailed unless the service's log knows of this walk, in JSON, without a token in it."""
    ours = [line for line in lines if marker in line]
    _require(bool(ours), f"the log of {service} knows nothing of {marker}")
    for line in ours:
        _require("eyJ" not in line and "sk_live_" not in line, f"the log of {service} holds a token")
        try:
            json.loads(line)
        except ValueError:
            raise JourneyFailed(f"the log of {service} has a line that is no JSON: {line[:200]}") from None
