"""Several requests on one connection (RFC 9112 section 9.3): each answered once, in order, none invented."""

from tests.edge.corpus.case import HIDDEN, Case, head, kept, posted

_ORDER = "RFC 9112 9.3.2: answered in the order they came"
_CLOSED = "RFC 9112 9.6: nothing is read behind a request that closes"


def _get(target: bytes) -> bytes:
    return kept(start=b"GET " + target + b" HTTP/1.1")


def _last(target: bytes) -> bytes:
    return head(start=b"GET " + target + b" HTTP/1.1")


CASES = [
    Case("two", _get(b"/1") + _last(b"/2"), "200 200", _ORDER, (b"GET /1 ", b"GET /2 ")),
    Case(
        "a hundred",
        b"".join(_get(b"/%d" % n) for n in range(99)) + _last(b"/99"),
        " ".join(["200"] * 100),
        _ORDER,
        tuple(b"GET /%d " % n for n in range(100)),
    ),
    Case(
        "behind a body",
        posted(b"Content-Length: 5", body=b"hello") + _last(b"/2"),
        "200 200",
        _ORDER,
        (b"POST / hello", b"GET /2 "),
    ),
    Case(
        "behind chunks",
        posted(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n") + _last(b"/2"),
        "200 200",
        _ORDER,
        (b"POST / hello", b"GET /2 "),
    ),
    Case("behind HEAD", kept(start=b"HEAD /1 HTTP/1.1") + _last(b"/2"), "200 200", _ORDER, (b"HEAD /1 ", b"GET /2 ")),
    Case("behind an empty line", _get(b"/1") + b"\r\n" + _last(b"/2"), "200 200", _ORDER, (b"GET /1 ", b"GET /2 ")),
    Case("behind close", _last(b"/1") + HIDDEN, "200", _CLOSED, (b"GET /1 ",)),
    Case(
        "behind close among others",
        kept(b"Connection: Close, TE", b"TE: trailers") + HIDDEN,
        "200",
        _CLOSED,
        (b"GET / ",),
    ),
    Case("behind HTTP/1.0", b"GET /1 HTTP/1.0\r\nHost: x\r\n\r\n" + HIDDEN, "200", _CLOSED, (b"GET /1 ",)),
    Case(
        "behind HTTP/1.0 that stays",
        b"GET /1 HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n" + _last(b"/2"),
        "200 200",
        "RFC 9112 9.3",
        (b"GET /1 ", b"GET /2 "),
    ),
    Case("with a bad one in the middle", _get(b"/1") + b"bad\r\n\r\n" + HIDDEN, "200 400", _CLOSED, (b"GET /1 ",)),
    Case(
        "with a bad host in the middle",
        _get(b"/1") + b"GET / HTTP/1.1\r\n\r\n" + HIDDEN,
        "200 400",
        _CLOSED,
        (b"GET /1 ",),
    ),
    Case("with a bad path in the middle", _get(b"/1") + _get(b"/../2") + HIDDEN, "200 400", _CLOSED, (b"GET /1 ",)),
    Case(
        "behind an upgrade not taken up",
        kept(b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13") + _last(b"/2"),
        "200 200",
        "RFC 9110 7.8: what is behind is HTTP still",
        (b"GET / ", b"GET /2 "),
    ),
    Case(
        "behind an upgrade with a body",
        posted(b"Upgrade: websocket", b"Connection: Upgrade", b"Content-Length: 5", body=b"hello") + _last(b"/2"),
        "200 200",
        "RFC 9110 7.8: what is behind is HTTP still",
        (b"POST / hello", b"GET /2 "),
    ),
    Case(
        "behind an expectation that does not wait",
        posted(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello") + _last(b"/2"),
        "200 200",
        "RFC 9110 10.1.1: no 100 is needed when the body is here",
        (b"POST / hello", b"GET /2 "),
    ),
    Case(
        "behind a body that is too large",
        posted(b"Content-Length: 99999999", body=b"hello") + HIDDEN,
        "413",
        "what is left of the body must not be read as a request",
    ),
]
