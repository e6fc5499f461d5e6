"""What every answer tells browsers, whatever it is an answer to."""

from collections.abc import Iterable

from edge.identity.caller import Header

SECURITY: tuple[Header, ...] = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"X-XSS-Protection", b"1; mode=block"),
    (b"Strict-Transport-Security", b"max-age=31536000; includeSubDomains"),
    (b"Referrer-Policy", b"no-referrer"),
)
# A route may say these otherwise, for a page that is framed or links elsewhere; the others protect the whole host.
OVERRIDABLE = frozenset({b"x-frame-options", b"x-xss-protection", b"referrer-policy"})


def lines(headers: Iterable[Header]) -> bytes:
    """As they stand in a head."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)


SECURITY_LINES = lines(SECURITY)
