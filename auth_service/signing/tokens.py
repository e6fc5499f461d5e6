"""Access tokens: JWTs as RFC 9068 profiles them, signed with Ed25519."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import jwt

from auth_service.accounts.models import Account
from auth_service.signing.keys import SigningKey
from common.ids import uuid7


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What all access tokens share."""

    issuer: str
    audience: str
    lifetime: timedelta


def issue(rules: TokenRules, key: SigningKey, account: Account, session: UUID, now: datetime) -> str:
    """A token for `account` within `session`. The header is exactly alg, typ and kid."""
    issued_at = int(now.timestamp())
    claims = {
        "iss": rules.issuer,
        "aud": rules.audience,
        "sub": str(account.id),
        "sid": str(session),
        "jti": str(uuid7()),
        "org": str(account.org),
        "role": account.role,
        "tier": account.tier,
        "ver": account.version,
        "iat": issued_at,
        "exp": issued_at + max(1, int(rules.lifetime.total_seconds())),
    }
    return jwt.encode(claims, key.private, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": key.kid})
