"""What is stored of an API key."""

import hashlib
import hmac
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pepper:
    """A secret outside the database, without which stolen hashes are worth nothing. `id` says which one it was."""

    secret: bytes
    id: str

    @classmethod
    def of(cls, secret: str) -> "Pepper":
        raw = secret.encode()
        return cls(raw, hmac.digest(raw, b"gatehouse pepper id", hashlib.sha256).hex()[:8])

    def hash(self, key: str) -> bytes:
        return hmac.digest(self.secret, key.encode(), hashlib.sha256)
