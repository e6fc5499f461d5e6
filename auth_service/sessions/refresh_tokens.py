"""Refresh tokens: opaque to clients, derived for us.

A token is its family (the session), its generation and an HMAC over both, so the same successor can be given again
though none is stored, and a forged one is refused without a look into the database.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from auth_service.derivation import derive

_PREFIX = "rt_"
_FAMILY_BYTES = 16
_GENERATION_BYTES = 8
_TAG_BYTES = 32


class RefreshTokens:
    """Makes and reads them."""

    def __init__(self, secret: str) -> None:
        self._key = derive(secret, "refresh-tokens")

    def make(self, family: UUID, generation: int) -> str:
        named = family.bytes + generation.to_bytes(_GENERATION_BYTES, "big")
        return _PREFIX + urlsafe_b64encode(named + self._tag(named)).rstrip(b"=").decode()

    def read(self, token: str) -> tuple[UUID, int] | None:
        """Family and generation of a token of ours, else None. Says nothing about whether it is still good."""
        try:
            raw = urlsafe_b64decode(token.removeprefix(_PREFIX) + "=" * (-(len(token) - len(_PREFIX)) % 4))
        except ValueError:
            return None
        if len(raw) != _FAMILY_BYTES + _GENERATION_BYTES + _TAG_BYTES:
            return None
        family = UUID(bytes=raw[:_FAMILY_BYTES])
        generation = int.from_bytes(raw[_FAMILY_BYTES:-_TAG_BYTES], "big")
        # The whole text is compared: base64 has several spellings for some bytes, we only one.
        expected = self.make(family, generation)
        return (family, generation) if hmac.compare_digest(expected.encode(), token.encode()) else None

    def _tag(self, named: bytes) -> bytes:
        return hmac.digest(self._key, named, hashlib.sha256)
