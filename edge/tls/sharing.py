"""Hands a certificate that one node got to the others, through Valkey, sealed: of no use to whoever reads it there.

Each node keeps its own copy on disk, so nothing is lost with Valkey. The seal's key comes from AUTH_SERVICE_KEY, which
all edges of one auth service share.
"""

import os
from typing import cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from redis.asyncio import Redis

from edge.tls.lock import PREFIX, Hold

_NONCE_BYTES = 12


class Sharing:
    def __init__(self, redis: Redis, service_key: str, slug: str) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=b"gatehouse acme certificates").derive(service_key.encode())
        self._redis = redis
        self._cipher = AESGCM(derived)
        self._slug = slug
        self._seen: dict[str, bytes] = {}

    async def give(self, hold: Hold, name: str, pem: bytes, seconds: float) -> bool:
        """Chain and key in one text, for so many seconds. False when the lock was lost. Raises RedisError."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, pem, self._bound(name))
        return await hold.write(self._key(name), sealed, seconds)

    async def take(self, name: str) -> bytes | None:
        """What a node has given, once; None when there is nothing new, or nothing that we could open.

        Raises RedisError.
        """
        sealed = cast("bytes | None", await self._redis.get(self._key(name)))
        if not sealed or sealed == self._seen.get(name):
            return None
        self._seen[name] = sealed
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound(name))
        except (InvalidTag, ValueError):
            return None

    def _bound(self, name: str) -> bytes:
        """What the seal holds for: nobody who can write to Valkey may give one name's certificate to another."""
        return f"{self._slug} {name}".encode()

    def _key(self, name: str) -> str:
        return f"{PREFIX}{self._slug}:certificate:{name}"
