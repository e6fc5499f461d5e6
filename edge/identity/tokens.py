"""Access tokens: strict verification once, then a dictionary look-up until they end.

Rules: RFC 8725 and RFC 9068; tests/edge/test_identity.py lists what is refused.
"""

import base64
import json
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt

from common.errors import TokenExpired, Unauthorized
from common.identity import Identity
from common.permissions import role_permissions
from edge.identity.caller import Caller
from edge.identity.jwks import Jwks
from edge.identity.revocations import Revocations

_BYTES_MAX = 8 * 1024
_REMEMBERED_MAX = 50_000
_LEEWAY_SECONDS = 5
_REQUIRED = ["iss", "aud", "sub", "sid", "jti", "org", "role", "tier", "ver", "iat", "exp"]


@dataclass(frozen=True, slots=True)
class Verified:
    """A good token: `version` is the user's at issue, `expires_at` a Unix second with the leeway in it."""

    caller: Caller
    user: UUID
    session: UUID
    version: int
    expires_at: float


class Tokens:
    """Raises Unauthorized or TokenExpired; ServiceUnavailable when a token cannot be judged at all."""

    def __init__(
        self,
        jwks: Jwks,
        revocations: Revocations,
        *,
        issuer: str,
        audience: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jwks = jwks
        self._revocations = revocations
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._remembered: dict[str, Verified] = {}
        revocations.on_change.append(self._forget)

    async def caller(self, token: str) -> Caller:
        verified = self._remembered.get(token)
        if verified is None:
            verified = await self._verify(token)
            self._revocations.check(verified)
            self._remember(token, verified)
        if verified.expires_at <= self._clock():
            self._remembered.pop(token, None)
            raise TokenExpired
        return verified.caller

    async def _verify(self, token: str) -> Verified:
        kid = _kid(token)
        key = await self._jwks.key(kid)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": _REQUIRED, "verify_exp": False, "strict_aud": True},
            )
            verified = _from_claims(claims)
        except (jwt.InvalidTokenError, ValueError, TypeError, KeyError) as error:
            raise Unauthorized("Invalid token", detail=type(error).__name__) from None
        self._revocations.require_synced()
        return verified

    def _remember(self, token: str, verified: Verified) -> None:
        if len(self._remembered) >= _REMEMBERED_MAX:
            # Insertion order is roughly expiry order: the oldest eighth makes room.
            for old in list(self._remembered)[: _REMEMBERED_MAX // 8]:
                del self._remembered[old]
        self._remembered[token] = verified

    def _forget(self, concerned: Set[UUID]) -> None:
        # Whether they are still good is judged afresh when they come again.
        for token, verified in list(self._remembered.items()):
            if verified.session in concerned or verified.user in concerned:
                del self._remembered[token]


def _from_claims(claims: dict[str, Any]) -> Verified:
    user, session, org = UUID(claims["sub"]), UUID(claims["sid"]), UUID(claims["org"])
    identity = Identity(
        user=user,
        org=org,
        role=_text(claims["role"]),
        tier=_text(claims["tier"]),
        session=session,
        permissions=role_permissions(claims["role"], org),
    )
    return Verified(Caller.of(identity), user, session, int(claims["ver"]), float(claims["exp"]) + _LEEWAY_SECONDS)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ValueError("not a plain word")
    return value


def _kid(token: str) -> str:
    """The key id of a well-formed header. Nothing but `kid` is ever taken from it."""
    parts = token.split(".")
    if len(token) > _BYTES_MAX or len(parts) != 3:
        raise _malformed()
    try:
        header = json.loads(_decode(parts[0]), object_pairs_hook=_unique)
        json.loads(_decode(parts[1]), object_pairs_hook=_unique)
        _decode(parts[2])
    except (ValueError, RecursionError):
        raise _malformed() from None
    # Exactly these three: alg none, jwk, jku, x5u, x5c, crit and b64 all end here.
    if not isinstance(header, dict) or header.keys() != {"alg", "typ", "kid"}:
        raise _malformed()
    if header["alg"] != "EdDSA" or header["typ"] != "at+jwt" or not isinstance(header["kid"], str):
        raise _malformed()
    return header["kid"]


def _malformed() -> Unauthorized:
    return Unauthorized("Invalid token", detail="malformed")


def _decode(part: str) -> bytes:
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    # Two spellings of one token would be two cache entries and two truths for anything keyed by it.
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part.encode():
        raise ValueError("not canonical base64url")
    return raw


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)
