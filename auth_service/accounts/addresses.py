"""E-mail addresses: one function decides what an address is and which two are the same."""

import re
import unicodedata

import idna

_LENGTH_MAX = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets
_LOCAL_LENGTH_MAX = 64
# A dot-atom of RFC 5322 with the letters and digits of all scripts (RFC 6532); no quoted strings, no comments.
_LOCAL = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*")


class InvalidAddress(ValueError):
    """Not an e-mail address that mail could be sent to."""


def normalize(address: str) -> str:
    """The form under which an address is unique: NFKC, without case, the domain in ASCII (IDNA 2008 with UTS 46).

    Raises InvalidAddress.
    """
    text = _fold(address)
    local, at, domain = text.rpartition("@")
    if not at or "@" in local or not _LOCAL.fullmatch(local) or len(local.encode()) > _LOCAL_LENGTH_MAX:
        raise InvalidAddress(address)
    normal = f"{local}@{_domain(domain)}"
    if len(normal.encode()) > _LENGTH_MAX:
        raise InvalidAddress(address)
    return normal


def identifier(text: str) -> str:
    """What a sign-in is attempted for: the normalized address, or whatever was typed, without case."""
    try:
        return normalize(text)
    except InvalidAddress:
        return _fold(text)


def _fold(text: str) -> str:
    """Unicode's compatibility caseless form (3.13, D146), without spaces at the ends."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFKC", folded.casefold()).strip()


def _domain(domain: str) -> str:
    if len(domain) > _LENGTH_MAX:
        raise InvalidAddress(domain)  # before idna, whose time grows with the square of a long input
    try:
        encoded = idna.encode(domain, uts46=True, std3_rules=True).decode().lower()
    except (idna.IDNAError, UnicodeError):
        raise InvalidAddress(domain) from None
    labels = encoded.split(".")
    if len(labels) < 2 or not all(labels) or labels[-1].isdigit():
        raise InvalidAddress(domain)
    return encoded
