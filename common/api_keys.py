"""The text of an API key: what the auth service makes, and what the edge refuses without asking it."""

import secrets
import string
import zlib

PREFIX = "sk_live_"
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH = 30  # 178 bits
_CHECK_LENGTH = 6  # 62^6 holds a CRC-32
_LENGTH = len(PREFIX) + _RANDOM_LENGTH + _CHECK_LENGTH
_PREVIEW_LENGTH = 5


def make() -> str:
    """A new key: prefix, random part, check characters, as GitHub's tokens do it."""
    random = PREFIX + "".join(secrets.choice(_BASE62) for _ in range(_RANDOM_LENGTH))
    return random + _check(random)


def is_well_formed(key: str) -> bool:
    """False for junk: it needs no look into the database."""
    if len(key) != _LENGTH or not key.startswith(PREFIX) or not key.isascii():
        return False
    random, check = key[:-_CHECK_LENGTH], key[-_CHECK_LENGTH:]
    return random.removeprefix(PREFIX).isalnum() and check == _check(random)


def preview(key: str) -> str:
    """Enough for its owner to recognise it."""
    return "…" + key[-_PREVIEW_LENGTH:]


def _check(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECK_LENGTH):
        number, digit = divmod(number, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits
