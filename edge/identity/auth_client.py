"""What the edge asks the auth service, over the same lean client leg as everything else."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from common import json
from common.errors import ServiceUnavailable, Unauthorized
from common.http1 import Pool, Timeouts, UpstreamError
from common.identity import Identity
from common.limits import Rule
from edge.upstream.upstream import Upstream

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


@dataclass(frozen=True, slots=True)
class ResolvedKey:
    """Who an API key is; `rule` is its own limit, `expires_at` a Unix second."""

    identity: Identity
    rule: Rule | None
    expires_at: float | None


class AuthClient:
    """Asks the upstream `auth`. Raises ServiceUnavailable when that does not give a usable answer."""

    def __init__(self, upstreams: Mapping[str, Pool | Upstream], service_key: str) -> None:
        self._upstreams = upstreams
        self._headers = [(b"Host", b"auth"), (b"Authorization", b"ApiKey " + service_key.encode())]

    async def jwks(self) -> list[dict[str, Any]]:
        """The public keys, as JWKs."""
        with _readable():
            keys: list[dict[str, Any]] = (await self._call("GET", b"/.well-known/jwks.json"))["keys"]
            return list(keys)

    async def resolve_key(self, key: str) -> ResolvedKey:
        """The key's identity. Raises Unauthorized for one that is unknown, revoked or expired."""
        answer = await self._call("POST", b"/internal/keys/resolve", json.dumps({"key": key}))
        with _readable():
            return _resolved(answer["data"])

    async def revocations(self, after: int) -> tuple[list[Revocation], int]:
        """Revocations with a seq above `after`, oldest first, and the feed's newest seq."""
        answer = await self._call("GET", b"/internal/revocations?limit=1000&after=%d" % after)
        with _readable():
            data = answer["data"]
            items = [
                Revocation(item["seq"], item["kind"], UUID(item["subject"]), item["before"], item["expires_at"])
                for item in data["items"]
            ]
            return items, int(data["latest"])

    async def _call(self, method: str, target: bytes, body: bytes | None = None) -> Any:
        headers = [*self._headers, (b"Content-Type", b"application/json")] if body is not None else self._headers
        try:
            response = await self._upstreams["auth"].request(method, target, headers, body, timeouts=_TIMEOUTS)
            raw = await response.read(_ANSWER_BYTES_MAX)
            answer = json.loads(raw)
        except (UpstreamError, json.JSONDecodeError) as error:
            raise _unavailable(repr(error)) from error
        if response.status in (401, 422) and body is not None:
            raise Unauthorized("Invalid API key")
        if response.status != 200:
            raise _unavailable(f"auth answered {response.status} to {target.decode()}")
        return answer


def _resolved(data: dict[str, Any]) -> ResolvedKey:
    identity = Identity(
        user=UUID(data["user"]) if data["user"] else None,
        org=UUID(data["org"]),
        role=data["role"],
        tier=data["tier"],
        key=UUID(data["key"]),
        permissions=frozenset(data["permissions"]),
    )
    limit = data["limit"]
    rule = Rule("key", limit["count"], limit["seconds"], scope=str(identity.key)) if limit else None
    return ResolvedKey(identity, rule, data["expires_at"])


@contextmanager
def _readable() -> Iterator[None]:
    """An answer that does not say what was agreed is the auth service's fault, not the client's."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unavailable(f"unreadable answer: {error!r}") from error


def _unavailable(detail: str) -> ServiceUnavailable:
    return ServiceUnavailable("The auth service is not available", detail=detail)
