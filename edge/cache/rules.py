"""What may be kept of an upstream's answers, and for how long (RFC 9111 sections 3 and 4.2)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from edge.identity.caller import Header
from edge.upstream.headers import find, folded, joined, passes_up

_FORBIDDING = frozenset({b"no-store", b"no-cache", b"private"})
# A cookie is for one; coded and partial bodies were not asked for.
_UNKEPT = frozenset({b"set-cookie", b"content-encoding", b"content-range"})
_STREAMS = (b"text/event-stream", b"multipart/x-mixed-replace")
# Part of every key, or the same for all: the upstream is never told what encodings a client takes.
_KEYED = frozenset({b"host", b"x-forwarded-host", b"x-forwarded-proto", b"accept-encoding"})
_DIRECTIVE = re.compile(rb"([!#$%&'*+.^_`|~0-9a-z-]+)(?:=(?:\"([^\"]*)\"|([^\s,]*)))?")


@dataclass(frozen=True, slots=True, eq=False)
class CacheRules:
    """A route's `cache`. Compared by identity: what two routes keep is apart, whatever their paths.

    seconds           how long an answer is kept at most
    is_shared         one answer for all callers, whoever they are
    ignores_cookies   a request with cookies gets what others get
    bytes_max         a larger answer is not kept
    """

    seconds: float
    is_shared: bool
    ignores_cookies: bool
    bytes_max: int


def seconds_kept(rules: CacheRules, status: int, headers: Sequence[Header]) -> float:
    """How much longer an answer may be given to others; 0 where it may not."""
    if status != 200 or any(name.lower() in _UNKEPT for name, _ in headers):
        return 0
    if (find(headers, b"content-type") or b"").lower().startswith(_STREAMS):
        return 0
    if int(find(headers, b"content-length") or 0) > rules.bytes_max or varying_names(rules, headers) is None:
        return 0
    stated = _seconds_stated(headers)
    return rules.seconds if stated is None else max(0, min(rules.seconds, stated - age(headers)))


def _seconds_stated(headers: Sequence[Header]) -> float | None:
    """The upstream's own word; None where it has none."""
    directives = _directives(joined(headers, b"cache-control"))
    if directives.keys() & _FORBIDDING:
        return 0
    stated = directives.get(b"s-maxage", directives.get(b"max-age"))
    if stated is not None:
        return _seconds(stated)
    if find(headers, b"expires") is not None:
        return _seconds_until_expiry(headers)
    return 0 if b"no-cache" in joined(headers, b"pragma") else None


def _directives(cache_control: bytes) -> dict[bytes, bytes]:
    """Of one that is said twice, the first counts."""
    found: dict[bytes, bytes] = {}
    for name, quoted, plain in _DIRECTIVE.findall(cache_control.lower()):
        found.setdefault(name, quoted or plain)
    return found


def _seconds_until_expiry(headers: Sequence[Header]) -> float:
    """By Expires; an invalid one, 0 above all, lies in the past (RFC 9111 section 5.3)."""
    try:
        expires, date = (parsedate_to_datetime((find(headers, n) or b"").decode()) for n in (b"expires", b"date"))
        return (expires - date).total_seconds()
    except (ValueError, TypeError):
        return 0


def age(headers: Sequence[Header]) -> int:
    """Seconds that an answer has spent in caches behind us."""
    return _seconds(find(headers, b"age") or b"")


def _seconds(stated: bytes) -> int:
    """As many as ten digits can tell; 0 for what is no number."""
    return int(stated[:10]) if stated.isdigit() else 0


def varying_names(rules: CacheRules, headers: Sequence[Header]) -> tuple[bytes, ...] | None:
    """Folded names of request headers on which an answer depends beyond its key; None where no key can tell."""
    named = {folded(name.strip()) for name in joined(headers, b"vary").split(b",")} - _KEYED - {b""}
    if not rules.is_shared:  # then whatever the upstream is told of the caller is in the key
        named = {name for name in named if not name.startswith(b"x-gatehouse-")}
    return tuple(sorted(named)) if all(name != b"*" and passes_up(name) for name in named) else None
