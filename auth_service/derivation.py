"""One secret, several keys: each purpose has its own, so that none can stand in for another."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derive(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose, by HKDF-SHA256 (RFC 5869); the purpose is its `info`."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"gatehouse/{purpose}".encode()).derive(secret.encode())
