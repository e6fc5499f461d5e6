"""Answers out of the cache: what is kept, as one client is to get it."""

import re
from email.utils import parsedate_to_datetime

from common.http1 import Response
from edge.cache.store import Entry
from edge.exchange import Exchange
from edge.identity.caller import Header
from edge.policies.compression import gzip_headers, wants_gzip
from edge.upstream.headers import find, named_by_connection, passes_down

# Counted, measured or meant for one answer alone.
_PASSING = frozenset({b"age", b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"})
# RFC 9110 section 15.4.5, and the template that metrics go by.
_OF_UNCHANGED = frozenset(
    {
        b"cache-control",
        b"content-location",
        b"date",
        b"etag",
        b"expires",
        b"last-modified",
        b"vary",
        b"x-gatehouse-route",
    }
)
_TAG = re.compile(rb'"[^"]*"')


def kept_headers(headers: list[Header]) -> tuple[Header, ...]:
    """Those of an upstream's answer that are part of it, and not of its way here."""
    hop = named_by_connection(headers)
    return tuple(
        (name, value)
        for name, value in headers
        if (passes_down(name) or name.lower() == b"x-gatehouse-route")
        and name.lower() not in hop
        and name.lower() not in _PASSING
    )


def answer(exchange: Exchange, entry: Entry, status: bytes, age: int | None) -> Response:
    """`entry` for this client. `status` becomes Cache-Status (RFC 9211), `age` seconds Age."""
    ours = [cache_status(status)] if age is None else [cache_status(status), (b"Age", b"%d" % age)]
    if _is_known(exchange, entry):
        kept = [header for header in entry.headers if header[0].lower() in _OF_UNCHANGED]
        return Response(304, b"Not Modified", [*kept, *ours], b"")
    headers, body = [*entry.headers, *ours], entry.body
    if entry.gzipped is not None and wants_gzip(exchange):
        headers, body = gzip_headers(headers), entry.gzipped
    headers.append((b"Content-Length", b"%d" % len(body)))
    return Response(200, entry.reason, headers, b"" if exchange.method == "HEAD" else body)


def cache_status(status: bytes) -> Header:
    return (b"Cache-Status", b"gatehouse; " + status)


def _is_known(exchange: Exchange, entry: Entry) -> bool:
    """Whether the client's condition says that it holds this answer already (RFC 9110 section 13.1.2 and 13.1.3)."""
    asked = exchange.request.headers
    tags = ", ".join(asked.getall("If-None-Match", ())).encode("latin-1", "replace")
    if tags:
        etag = _TAG.search(find(entry.headers, b"etag") or b"")
        return tags.strip() == b"*" or (etag is not None and etag[0] in _TAG.findall(tags))
    since, modified = asked.get("If-Modified-Since"), find(entry.headers, b"last-modified")
    if since is None or modified is None:
        return False
    try:
        return parsedate_to_datetime(modified.decode("latin-1")) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):
        return False
