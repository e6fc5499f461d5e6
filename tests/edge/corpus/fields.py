"""Header fields (RFC 9110 section 5, RFC 9112 section 5), Host, Expect, Connection, Via, and how much of all."""

from tests.edge.corpus.case import HIDDEN, Case, head, kept, posted

_TOKEN = "RFC 9110 5.1: a name is a token"
_VALUE = "RFC 9110 5.5: no CR, LF, NUL or other control character in a value"
_COLON = "RFC 9112 5.1: no white space between name and colon"
_FOLD = "RFC 9112 5.2: no obs-fold outside message/http"
_HOST = "RFC 9112 3.2: one Host, of a host and a port"
_BOUND = "bounded heads"


def _refused(name: str, line: bytes, why: str) -> Case:
    return Case(f"field {name}", kept(line) + HIDDEN, "400", why)


def _host(name: str, lines: bytes) -> Case:
    return Case(f"host {name}", b"GET / HTTP/1.1\r\n" + lines + b"\r\n" + HIDDEN, "400", _HOST)


def _accepted(name: str, *lines: bytes, why: str) -> Case:
    return Case(f"field {name}", head(*lines), "200", why, (b"GET / ",))


CASES = [
    _refused("with a space before the colon", b"A : b", _COLON),
    _refused("with a tab before the colon", b"A\t: b", _COLON),
    _refused("without a colon", b"A", "RFC 9112 5: name, colon, value"),
    _refused("without a name", b": b", _TOKEN),
    _refused("with a space in its name", b"A B: c", _TOKEN),
    _refused("with NUL in its name", b"A\x00: b", _TOKEN),
    _refused("with a control character in its name", b"A\x01: b", _TOKEN),
    _refused("with DEL in its name", b"A\x7f: b", _TOKEN),
    _refused("with a slash in its name", b"A/B: c", _TOKEN),
    _refused("with a bracket in its name", b"A(: c", _TOKEN),
    _refused("with a quote in its name", b'"A": c', _TOKEN),
    _refused("with bytes of UTF-8 in its name", "É: a".encode(), _TOKEN),
    _refused("with a name after a no-break space", b"\xa0A: b", _TOKEN),
    _refused("with NUL in its value", b"A: b\x00c", _VALUE),
    _refused("with a bare CR in its value", b"A: b\rc", _VALUE),
    _refused("with a CR at its end", b"A: b\r", _VALUE),
    _refused("with a bare LF in its value", b"A: b\nC: d", _VALUE),
    _refused("with vertical tab in its value", b"A: b\x0bc", _VALUE),
    _refused("with escape in its value", b"A: b\x1bc", _VALUE),
    _refused("with DEL in its value", b"A: b\x7fc", _VALUE),
    _refused("with a control character in its value", b"A: b\x01c", _VALUE),
    _refused("folded", b"A: b\r\n c", _FOLD),
    _refused("folded by a tab", b"A: b\r\n\tc", _FOLD),
    _refused("folded to nothing", b"A: b\r\n ", _FOLD),
    Case("field first, behind a space", b"GET / HTTP/1.1\r\n A: b\r\nHost: x\r\n\r\n" + HIDDEN, "400", _FOLD),
    Case("fields ended by LF", b"GET / HTTP/1.1\nHost: x\n\n" + HIDDEN, "400", "RFC 9112 2.2: CRLF ends a line"),
    Case("fields ended by CR", b"GET / HTTP/1.1\rHost: x\r\r" + HIDDEN, "400", "RFC 9112 2.2: CRLF ends a line"),
    Case("head ended by LF", b"GET / HTTP/1.1\r\nHost: x\r\n\n" + HIDDEN, "400", "RFC 9112 2.2: CRLF ends a line"),
    _host("absent", b""),
    _host("twice", b"Host: x\r\nHost: y\r\n"),
    _host("twice, equal", b"Host: x\r\nHost: x\r\n"),
    _host("twice, the second in other letters", b"Host: x\r\nhOST: y\r\n"),
    _host("with a space before the colon", b"Host : x\r\n"),
    _host("behind a space", b" Host: x\r\n"),
    _host("folded", b"Host:\r\n x\r\n"),
    _host("of two names", b"Host: x y\r\n"),
    _host("list", b"Host: x, y\r\n"),
    _host("with a user", b"Host: y@x\r\n"),
    _host("with a path", b"Host: x/y\r\n"),
    _host("with a query", b"Host: x?y\r\n"),
    _host("with a fragment", b"Host: x#y\r\n"),
    _host("with a scheme", b"Host: http://x\r\n"),
    _host("with a port of letters", b"Host: x:http\r\n"),
    _host("with two ports", b"Host: x:80:81\r\n"),
    _host("with a port of six digits", b"Host: x:123456\r\n"),
    _host("of IPv6 without brackets", b"Host: ::1\r\n"),
    _host("of an open bracket", b"Host: [::1\r\n"),
    _host("with an escape", b"Host: x%2ey\r\n"),
    _host("with NUL", b"Host: x\x00y\r\n"),
    _host("with bytes of UTF-8", "Host: é\r\n".encode()),
    _host("with a tab inside", b"Host: x\ty\r\n"),
    Case("field of 17 KB", kept(b"A: " + b"b" * 17_000), "431", _BOUND),
    Case("name of 17 KB", kept(b"A" * 17_000 + b": b"), "431", _BOUND),
    Case("fields of 75 KB together", kept(*(b"A%d: " % n + b"b" * 15_000 for n in range(5))), "431", _BOUND),
    Case("fields, 200 of them", kept(*(b"A%d: b" % n for n in range(200))), "431", _BOUND),
    Case(
        "expectation unknown",
        posted(b"Expect: 200-ok", b"Content-Length: 5", body=b"hello") + HIDDEN,
        "400",
        "RFC 9110 10.1.1",
    ),
    Case(
        "expectation in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        "200",
        "RFC 9110 10.1.1: ignored, no 100 to a client that does not know it",
        (b"POST / hello",),
    ),
    _accepted("via another", b"Via: 1.1 proxy, 1.0 cache (of old)", why="RFC 9110 7.6.3: one that does not come back"),
    Case(
        "field Via that has been here often",
        kept(b"Via: " + b", ".join([b"1.1 gatehouse"] * 20)) + HIDDEN,
        "400",
        "RFC 9110 7.6.3: a loop",
    ),
    _accepted("of nothing", b"A:", why="RFC 9110 5.5: a value may be empty"),
    _accepted("with a tab inside", b"A: b\tc", why="RFC 9110 5.5"),
    _accepted("of Latin-1", b"A: \xe9\xff", why="RFC 9110 5.5: obs-text"),
    _accepted("of every token character", b"!#$%&'*+-.^_`|~09Az: b", why=_TOKEN),
    _accepted("of 15 KB", b"A: " + b"b" * 15_000, why="within the bounds"),
    _accepted("twice", b"A: b", b"A: c", why="RFC 9110 5.3: a list"),
    _accepted("that Connection names", b"A: b", b"Connection: A, Host, X-Request-ID", why="RFC 9110 7.6.1"),
    _accepted("of another protocol", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk", why="RFC 9110 7.8: not taken up"),
    Case("host in capitals", head(host=b"HOST: X\r\n"), "200", "RFC 9110 5.1", (b"GET / ",)),
    Case("host with a port", head(host=b"Host: x:8080\r\n"), "200", _HOST, (b"GET / ",)),
    Case("host of IPv6", head(host=b"Host: [::1]:80\r\n"), "200", _HOST, (b"GET / ",)),
    Case("host of nothing", head(host=b"Host:\r\n"), "200", "RFC 9112 3.2: may be empty", (b"GET / ",)),
]
