"""What the edge asks the auth service, over the same lean client leg as everything else."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from common import json
from common.errors import ServiceUnavailable, Unauthorized
from common.http1 import Pool, Timeouts, UpstreamError

_TIMEOUTS = Timeouts(connect=2, first_byte=5, idle=5)
_ANSWER_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Revocation:
    """One line of the feed; `before` is a version for kind `version`, `expires_at` a Unix second."""

    seq: int
    kind: str
    subject: UUID
    before: int | None
    expires_at: float


class AuthClient:
    """Raises ServiceUnavailable when the auth service does not give a usable answer."""

    def __init__(self, pool: Pool, service_key: str) -> None:
        self._pool = pool
        self._headers = [(b"Host", b"auth"), (b"Authorization", b"ApiKey " + service_key.encode())]

    async def jwks(self) -> dict[str, Any]:
        status, body = await self._call("GET", b"/.well-known/jwks.json")
        if status != 200 or "keys" not in body:
            raise ServiceUnavailable(detail=f"auth answered {status} for its key set")
        return body

    async def resolve_key(self, key: str) -> dict[str, Any]:
        """The key's identity. Raises Unauthorized for one that is unknown, revoked or expired."""
        status, body = await self._call("POST", b"/internal/keys/resolve", json.dumps({"key": key}))
        if status in (401, 422):
            raise Unauthorized("Invalid API key")
        return _data(status, body)

    async def revocations(self, after: int) -> tuple[list[Revocation], int]:
        """Revocations with a seq above `after`, oldest first, and the feed's newest seq."""
        status, body = await self._call("GET", b"/internal/revocations?limit=1000&after=%d" % after)
        data = _data(status, body)
        items = [
            Revocation(item["seq"], item["kind"], UUID(item["subject"]), item["before"], item["expires_at"])
            for item in data["items"]
        ]
        return items, data["latest"]

    async def readiness(self) -> dict[str, Any]:
        return (await self._call("GET", b"/health/ready"))[1]

    async def _call(self, method: str, target: bytes, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        headers = [*self._headers, (b"Content-Type", b"application/json")] if body is not None else self._headers
        try:
            response = await self._pool.request(method, target, headers, body, timeouts=_TIMEOUTS)
            raw = await response.read(_ANSWER_BYTES_MAX)
            return response.status, json.loads(raw)
        except (UpstreamError, json.JSONDecodeError) as error:
            raise ServiceUnavailable("The auth service is not available", detail=repr(error)) from error


def _data(status: int, body: dict[str, Any]) -> dict[str, Any]:
    if status != 200:
        raise ServiceUnavailable("The auth service is not available", detail=f"auth answered {status}")
    data: dict[str, Any] = body["data"]
    return data
