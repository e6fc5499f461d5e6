"""Request lines (RFC 9112 section 3): method, target, version, and what stands before them."""

from tests.edge.corpus.case import HIDDEN, Case, head, kept

_SP = "RFC 9112 3: one space between method, target and version"
_VERSION = "RFC 9112 2.3: HTTP-version = HTTP-name / DIGIT . DIGIT, case-sensitive"
_METHOD = "RFC 9110 9.1: a method is a case-sensitive token"
_NOT_HTTP = "not HTTP"


def _line(name: str, start: bytes, why: str) -> Case:
    return Case(f"line {name}", kept(start=start) + HIDDEN, "400", why)


CASES = [
    _line("with a tab", b"GET\t/ HTTP/1.1", _SP),
    _line("with a tab before the version", b"GET /\tHTTP/1.1", _SP),
    _line("behind a space", b" GET / HTTP/1.1", _SP),
    _line("before a space", b"GET / HTTP/1.1 ", _SP),
    _line("with form feeds", b"GET\x0c/\x0cHTTP/1.1", _SP),
    _line("with a bare CR", b"GET /\rHTTP/1.1", "RFC 9112 2.2: a bare CR is invalid"),
    _line("without a version", b"GET /", "HTTP/0.9 is not spoken"),
    _line("without a target", b"GET HTTP/1.1", _SP),
    _line("of version 0.9", b"GET / HTTP/0.9", _VERSION),
    _line("of version 1.2", b"GET / HTTP/1.2", _VERSION),
    _line("of version 2.0", b"GET / HTTP/2.0", _VERSION),
    _line("of version 3.0", b"GET / HTTP/3.0", _VERSION),
    _line("of version 1.10", b"GET / HTTP/1.10", _VERSION),
    _line("of version 1", b"GET / HTTP/1", _VERSION),
    _line("of version 11", b"GET / HTTP/11", _VERSION),
    _line("of version 1.1.1", b"GET / HTTP/1.1.1", _VERSION),
    _line("of version 01.1", b"GET / HTTP/01.1", _VERSION),
    _line("of version 1,1", b"GET / HTTP/1,1", _VERSION),
    _line("of a version with a space", b"GET / HTTP/ 1.1", _VERSION),
    _line("of a version in small letters", b"GET / http/1.1", _VERSION),
    _line("of nearly HTTP", b"GET / HTTQ/1.1", _VERSION),
    _line("with the method in small letters", b"get / HTTP/1.1", _METHOD),
    _line("with a space in the method", b"GE T / HTTP/1.1", _METHOD),
    _line("with NUL in the method", b"GE\x00T / HTTP/1.1", _METHOD),
    _line("with a colon in the method", b"GET: / HTTP/1.1", _METHOD),
    _line("with an unknown method", b"FROBNICATE / HTTP/1.1", _METHOD + "; unknown ones are not passed on"),
    _line("without a method", b" / HTTP/1.1", _METHOD),
    _line("with a method of another protocol", b"DESCRIBE / HTTP/1.1", _METHOD),
    Case("line of a tunnel", kept(start=b"CONNECT x:443 HTTP/1.1") + HIDDEN, "400", "RFC 9110 9.3.6: for proxies"),
    Case(
        "line of a tunnel to a path",
        kept(start=b"CONNECT / HTTP/1.1") + HIDDEN,
        "400",
        "RFC 9110 9.3.6: CONNECT's target is an authority",
    ),
    Case(
        "line of a trace",
        head(start=b"TRACE / HTTP/1.1"),
        "405",
        "RFC 9110 9.3.8: it would show the client what the edge adds, the upstream's key included",
    ),
    Case("greeting of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400", "RFC 9113 3.4; HTTP/2 ends in front"),
    Case("greeting of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 32, "400", _NOT_HTTP),
    Case("greeting of SSH", b"SSH-2.0-OpenSSH_9.2\r\n", "400", _NOT_HTTP),
    Case("greeting of a PROXY protocol", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + HIDDEN, "400", _NOT_HTTP),
    Case("an answer for a request", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "400", _NOT_HTTP),
    Case("NULs", b"\x00" * 64, "400", _NOT_HTTP),
    Case("a UTF-8 mark before the method", b"\xef\xbb\xbf" + HIDDEN, "400", _METHOD),
    Case("a target of 20 KB", kept(start=b"GET /" + b"a" * 20_000 + b" HTTP/1.1"), "431", "bounded heads"),
    Case("empty line first", b"\r\n" + head(), "200", "RFC 9112 2.2: ignored", (b"GET / ",)),
    Case(
        "line with two spaces", head(start=b"GET  /  HTTP/1.1"), "200", "RFC 9112 3: words may be parsed", (b"GET / ",)
    ),
    Case(
        "line of RTSP",
        kept(start=b"GET / RTSP/1.0") + HIDDEN,
        "200",
        "the parser knows RTSP and tells nobody; it is written anew as HTTP, one request, and closes",
        (b"GET / ",),
    ),
    Case("plain GET", head(), "200", "RFC 9112 3", (b"GET / ",)),
    Case("PATCH", head(start=b"PATCH /a HTTP/1.1"), "200", "RFC 5789", (b"PATCH /a ",)),
    Case("HTTP/1.0", b"GET /old HTTP/1.0\r\n\r\n", "200", "RFC 9112 3.2: Host is optional there", (b"GET /old ",)),
    Case(
        "HTTP/1.0 with a host",
        b"GET /old HTTP/1.0\r\nHost: x\r\n\r\n" + HIDDEN,
        "200",
        "RFC 9112 9.3: closes after one, and what is behind is not read",
        (b"GET /old ",),
    ),
]
