"""The path that is authorised is the path that is forwarded, and every upstream reads it in the same way."""

import re

from common.errors import BadRequest

# RFC 3986 section 3.3: non-empty segments of pchar; only the last may be empty (a trailing slash). Possessive: nothing
# that was read in one way is tried in another.
_PATH = re.compile(r"/|(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]++|%[0-9A-Fa-f]{2})++)++/?")
# Decoded by some servers and not by others: NUL, slash and backslash.
_AMBIGUOUS = re.compile(r"%(?:00|2f|5c)", re.IGNORECASE)
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normal_path(path: str) -> str:
    """`path` with every unreserved character spelled plainly (RFC 3986 section 6.2.2.2).

    Raises BadRequest for what two servers could read in two ways.
    """
    if _PATH.fullmatch(path) is None:
        raise BadRequest("The path is malformed")
    if "%" in path:
        if _AMBIGUOUS.search(path):
            raise BadRequest("The path contains an encoded slash, backslash or NUL")
        path = _ENCODED.sub(_plain, path)
    if "/." in path and any(segment in (".", "..") for segment in path.split("/")):
        raise BadRequest("The path contains dot segments")
    return path


def _plain(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[1], 16))
    return character if character in _UNRESERVED else encoded[0].upper()
