"""Ed25519 key pairs: making them, and keeping the private half encrypted."""

import hashlib
import os
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auth_service.derivation import derive
from common.errors import ServiceUnavailable

_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class PublicKey:
    kid: str
    raw: bytes

    def jwk(self) -> dict[str, str]:
        """RFC 8037, with the members a JWKS needs."""
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": _base64url(self.raw),
            "kid": self.kid,
            "alg": "EdDSA",
            "use": "sig",
        }


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    private: Ed25519PrivateKey


class Vault:
    """Encrypts private keys under SECRET_KEY, each bound to its kid (AES-256-GCM, kid as associated data)."""

    def __init__(self, secret: str) -> None:
        self._cipher = AESGCM(derive(secret, "signing-keys"))

    def make(self) -> tuple[PublicKey, bytes]:
        """A new pair: the public half and the encrypted private one."""
        private = Ed25519PrivateKey.generate()
        raw = private.public_key().public_bytes_raw()
        kid = thumbprint(raw)
        nonce = os.urandom(_NONCE_BYTES)
        return PublicKey(kid, raw), nonce + self._cipher.encrypt(nonce, private.private_bytes_raw(), kid.encode())

    def open(self, kid: str, encrypted: bytes) -> SigningKey:
        """Raises ServiceUnavailable when SECRET_KEY is not the one it was encrypted under."""
        nonce, sealed = encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:]
        try:
            raw = self._cipher.decrypt(nonce, sealed, kid.encode())
        except InvalidTag:
            detail = "SECRET_KEY is not the one under which the signing keys in this database are encrypted"
            raise ServiceUnavailable("Sign-in is not available", detail=detail) from None
        return SigningKey(kid, Ed25519PrivateKey.from_private_bytes(raw))


def thumbprint(raw: bytes) -> str:
    """RFC 7638 with SHA-256, over the members that RFC 8037 names."""
    members = f'{{"crv":"Ed25519","kty":"OKP","x":"{_base64url(raw)}"}}'
    return _base64url(hashlib.sha256(members.encode()).digest())


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
