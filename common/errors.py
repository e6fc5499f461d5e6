"""The errors a client can see. Services raise them, one middleware renders them.

Each has a fixed status, name and public sentence; `detail` is for the log only.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar


class ApiError(Exception):
    """Base of all errors with a public shape; by itself the honest 500."""

    status: ClassVar[int] = 500
    error: ClassVar[str] = "InternalServerError"
    default: ClassVar[str] = "Internal server error"

    def __init__(self, message: str = "", *, detail: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.message = message or self.default
        self.detail = detail
        self.headers = dict(headers or {})
        super().__init__(self.message)


class BadRequest(ApiError):
    status, error, default = 400, "BadRequest", "Bad request"


class Unauthorized(ApiError):
    status, error, default = 401, "Unauthorized", "Authentication required"


class TokenExpired(Unauthorized):
    error, default = "TokenExpired", "Token has expired"


class Forbidden(ApiError):
    status, error, default = 403, "Forbidden", "You do not have permission to do this"


class Banned(ApiError):
    status, error, default = 403, "Banned", "Too many failed attempts from your address, please try again later"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(headers={"Retry-After": str(max(1, retry_after_seconds))})


class NotFound(ApiError):
    status, error, default = 404, "NotFound", "Resource not found"


class MethodNotAllowed(ApiError):
    status, error, default = 405, "MethodNotAllowed", "Method not allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(headers={"Allow": ", ".join(sorted(allowed))})


class RequestTimeout(ApiError):
    status, error, default = 408, "RequestTimeout", "The request took too long to arrive"


class Conflict(ApiError):
    status, error, default = 409, "Conflict", "Resource already exists"


class PreconditionFailed(ApiError):
    status, error, default = 412, "PreconditionFailed", "Resource has changed"


class PayloadTooLarge(ApiError):
    status, error, default = 413, "PayloadTooLarge", "Request body is too large"


class UnsupportedMediaType(ApiError):
    status, error, default = 415, "UnsupportedMediaType", "Content-Type must be application/json"


class MisdirectedRequest(ApiError):
    status, error, default = 421, "MisdirectedRequest", "This host is not served here"


class ValidationError(ApiError):
    """422 with every faulty field: `errors = {"email": ["Invalid email format"]}`."""

    status, error, default = 422, "ValidationError", "Validation failed"

    def __init__(self, errors: Mapping[str, Sequence[str]], message: str = "") -> None:
        super().__init__(message)
        self.errors = {field: list(messages) for field, messages in errors.items()}


class UpgradeRequired(ApiError):
    """Another version of WebSocket than 13 (RFC 6455 section 4.2.2)."""

    status, error, default = 426, "UpgradeRequired", "Only version 13 of WebSocket is spoken here"

    def __init__(self) -> None:
        super().__init__(headers={"Sec-WebSocket-Version": "13", "Upgrade": "websocket", "Connection": "Upgrade"})


class TooManyRequests(ApiError):
    status, error, default = 429, "TooManyRequests", "Too many requests, please try again later"

    def __init__(self, retry_after_seconds: int, message: str = "") -> None:
        super().__init__(message, headers={"Retry-After": str(max(1, retry_after_seconds))})


class HeadersTooLarge(ApiError):
    status, error, default = 431, "HeadersTooLarge", "Request headers are too large"


class BadGateway(ApiError):
    status, error, default = 502, "BadGateway", "The service behind this address could not be reached"


class ServiceUnavailable(ApiError):
    """A dependency failed or load is shed; never used for a wrong credential."""

    status, error, default = 503, "ServiceUnavailable", "Service temporarily unavailable"

    def __init__(self, message: str = "", *, detail: str = "", retry_after_seconds: int = 1) -> None:
        super().__init__(message, detail=detail, headers={"Retry-After": str(retry_after_seconds)})


class GatewayTimeout(ApiError):
    status, error, default = 504, "GatewayTimeout", "The service behind this address took too long"


def timestamp() -> str:
    """Now, ISO-8601 UTC with milliseconds and Z, as in `2025-11-21T10:30:00.000Z`."""
    second, milliseconds = divmod(int(time.time() * 1000), 1000)
    return f"{_second(second)}.{milliseconds:03d}Z"


@lru_cache(maxsize=2)
def _second(unix: int) -> str:
    # Every log line carries the time; within a second only the milliseconds differ.
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def envelope(error: ApiError, *, method: str, path: str, request_id: str) -> dict[str, Any]:
    """The error body of everything under `/api/v1`."""
    body: dict[str, Any] = {
        "success": False,
        "error": error.error,
        "message": error.message,
        "statusCode": error.status,
        "timestamp": timestamp(),
        "path": path,
        "method": method,
        "requestId": request_id,
    }
    if isinstance(error, ValidationError):
        body["errors"] = error.errors
    return body


_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_envelope(error: ApiError) -> dict[str, Any]:
    """The error body of routes that speak the OpenAI dialect (everything under `/v1`)."""
    kind = _OPENAI_TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "server_error")
    param = next(iter(error.errors), None) if isinstance(error, ValidationError) else None
    return {"error": {"message": error.message, "type": kind, "param": param, "code": error.error}}
