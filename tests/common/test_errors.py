"""The error bodies that clients see."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from common import errors
from common.errors import ApiError, ValidationError, envelope, openai_envelope, timestamp

EXPECTED = {
    400: "BadRequest", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 408: "RequestTimeout",
    409: "Conflict", 412: "PreconditionFailed", 413: "PayloadTooLarge", 415: "UnsupportedMediaType",
    421: "MisdirectedRequest", 422: "ValidationError", 429: "TooManyRequests", 431: "HeadersTooLarge",
    500: "InternalServerError", 502: "BadGateway", 503: "ServiceUnavailable", 504: "GatewayTimeout",
}  # fmt: skip


def test_each_status_has_its_name() -> None:
    second_names = (errors.TokenExpired, errors.Unauthorized, errors.Banned)
    known = {kind.status: kind.error for kind in vars(errors).values() if isinstance(kind, type)
             and issubclass(kind, ApiError) and kind not in second_names}  # fmt: skip
    assert known.items() >= EXPECTED.items()
    assert (errors.Unauthorized.status, errors.TokenExpired.status) == (401, 401)


def test_envelope_has_every_key_and_never_the_detail() -> None:
    body = envelope(errors.NotFound(detail="SELECT secret"), method="GET", path="/x", request_id="req_1")
    moment = body.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert body == {
        "success": False,
        "error": "NotFound",
        "message": "Resource not found",
        "statusCode": 404,
        "path": "/x",
        "method": "GET",
        "requestId": "req_1",
    }


def test_validation_errors_are_listed_by_field() -> None:
    body = envelope(ValidationError({"email": ["Invalid"]}), method="POST", path="/x", request_id="req_1")
    assert body["errors"] == {"email": ["Invalid"]}


def test_timestamp_is_now_in_utc_with_milliseconds() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # the text cuts microseconds off
    made = datetime.fromisoformat(timestamp())
    assert before <= made <= datetime.now(UTC)


def test_retry_after_is_at_least_a_second() -> None:
    assert errors.TooManyRequests(0).headers == {"Retry-After": "1"}
    assert errors.ServiceUnavailable().headers == {"Retry-After": "1"}


def test_method_not_allowed_names_the_allowed_ones() -> None:
    assert errors.MethodNotAllowed(["PUT", "GET"]).headers == {"Allow": "GET, PUT"}


@pytest.mark.parametrize(
    ("error", "kind", "param"),
    [
        (errors.Unauthorized(), "authentication_error", None),
        (errors.Forbidden(), "permission_error", None),
        (errors.TooManyRequests(1), "rate_limit_error", None),
        (ValidationError({"model": ["Unknown"]}), "invalid_request_error", "model"),
        (errors.BadGateway(), "server_error", None),
    ],
)
def test_openai_routes_get_openai_shapes(error: ApiError, kind: str, param: str | None) -> None:
    body = openai_envelope(error)["error"]
    assert body == {"message": error.message, "type": kind, "param": param, "code": error.error}
