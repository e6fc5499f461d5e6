"""Request targets (RFC 9112 section 3.2, RFC 3986): what was authorised is what is forwarded."""

from tests.edge.corpus.case import HIDDEN, Case, head, kept

_PCHAR = "RFC 3986 3.3: segments of pchar"
_DOTS = "RFC 3986 5.2.4: servers remove dot segments, some before and some after they decode"
_DECODED = "decoded by some servers and not by others"
_EMPTY = "merged by some servers and not by others"
_FORM = "RFC 9112 3.2: origin form or absolute form"
_HOST = "RFC 9112 3.2.2: the target's host and Host must be one"


def _refused(name: str, target: bytes, why: str) -> Case:
    return Case(f"target {name}", kept(start=b"GET " + target + b" HTTP/1.1") + HIDDEN, "400", why)


def _accepted(name: str, target: bytes, seen: bytes, why: str) -> Case:
    return Case(f"target {name}", head(start=b"GET " + target + b" HTTP/1.1"), "200", why, (b"GET " + seen + b" ",))


CASES = [
    _refused("up", b"/../a", _DOTS),
    _refused("up in the middle", b"/a/../b", _DOTS),
    _refused("up at the end", b"/a/..", _DOTS),
    _refused("here", b"/./a", _DOTS),
    _refused("up, encoded", b"/%2e%2e/a", _DOTS),
    _refused("up, half encoded", b"/.%2E/a", _DOTS),
    _refused("here, encoded", b"/a/%2e", _DOTS),
    _refused("up with a parameter", b"/a/..;x/../b", _DOTS),
    _refused("with an encoded slash", b"/a%2fb", _DECODED),
    _refused("with an encoded slash, capital", b"/a%2Fb", _DECODED),
    _refused("with an encoded backslash", b"/a%5cb", _DECODED),
    _refused("with an encoded NUL", b"/a%00b", _DECODED),
    _refused("with a backslash", b"/a\\b", _PCHAR),
    _refused("with two slashes", b"//a", _EMPTY),
    _refused("with two slashes inside", b"/a//b", _EMPTY),
    _refused("with a half escape", b"/a%2", "RFC 3986 2.1"),
    _refused("with an escape of no number", b"/a%zz", "RFC 3986 2.1"),
    _refused("with a lone percent", b"/%", "RFC 3986 2.1"),
    _refused("with NUL", b"/a\x00b", _PCHAR),
    _refused("with a control character", b"/a\x01b", _PCHAR),
    _refused("with DEL", b"/a\x7fb", _PCHAR),
    _refused("with bytes of UTF-8", "/é".encode(), _PCHAR),
    _refused("with a byte of Latin-1", b"/\xe9", _PCHAR),
    _refused("with angle brackets", b"/<a>", _PCHAR),
    _refused("with a quote", b'/"a"', _PCHAR),
    _refused("with a bar", b"/a|b", _PCHAR),
    _refused("with braces", b"/{a}", _PCHAR),
    _refused("with a space", b"/a b", "RFC 9112 3.2: no white space in a target"),
    _refused("with a fragment", b"/a#b", "RFC 9110 7.1: a target has no fragment"),
    _refused("with a fragment behind the query", b"/a?b#c", "RFC 9110 7.1: a target has no fragment"),
    _refused("with NUL in the query", b"/?a=\x00", "RFC 3986 3.4"),
    _refused("with a tab in the query", b"/?a=\tb", "RFC 3986 3.4"),
    _refused("with bytes of UTF-8 in the query", "/?q=é".encode(), "RFC 3986 3.4"),
    _refused("of a query alone", b"?a=b", _FORM),
    _refused("without a slash", b"a/b", _FORM),
    _refused("of an asterisk", b"*", "RFC 9112 3.2.4: for OPTIONS alone"),
    _refused("of an authority", b"x:80", "RFC 9112 3.2.3: for CONNECT alone"),
    _refused("absolute, of another host", b"http://y/", _HOST),
    _refused("absolute, of another port", b"http://x:81/", _HOST),
    _refused("absolute, with a user", b"http://y@x/", _HOST),
    _refused("absolute, of another scheme", b"ftp://x/", _FORM),
    _refused("absolute, of a file", b"file:///etc/passwd", _FORM),
    _refused("absolute, without a host", b"http:///", _FORM),
    _refused("absolute, going up", b"http://x/a/../b", _DOTS),
    _refused("absolute, with a backslash", b"http://x\\@y/", _HOST),
    Case(
        "target of an asterisk, for OPTIONS",
        kept(start=b"OPTIONS * HTTP/1.1"),
        "400",
        "RFC 9110 9.3.7: asks the server in general; there is nothing to say",
    ),
    _accepted("plain", b"/a/b/", b"/a/b/", _PCHAR),
    _accepted("of every pchar", b"/a;b=c,d(e)!'*$&+:@~_-.", b"/a;b=c,d(e)!'*$&+:@~_-.", _PCHAR),
    _accepted("escaped without need", b"/%61%2Db", b"/a-b", "RFC 3986 6.2.2.2: unreserved characters are plain"),
    _accepted("escaped in small letters", b"/%c3%a9", b"/%C3%A9", "RFC 3986 6.2.2.1: hexadecimal in capitals"),
    _accepted("escaped overlong", b"/%c0%ae%c0%ae/a", b"/%C0%AE%C0%AE/a", "no UTF-8: three bytes to everybody"),
    _accepted("escaped twice", b"/%252e%252e/a", b"/%252e%252e/a", "RFC 3986 2.4: decoded once only"),
    _accepted("of three dots", b"/.../a", b"/.../a", "a name"),
    _accepted("with a query", b"/a?b=c&d=%26", b"/a?b=c&d=%26", "RFC 3986 3.4: passed as it is"),
    _accepted("with dots in the query", b"/a?b=/../c", b"/a?b=/../c", "RFC 3986 3.4: a query has no segments"),
    _accepted("with an empty query", b"/a?", b"/a", "nothing is asked"),
    _accepted("absolute", b"http://x/a?b", b"/a?b", "RFC 9112 3.2.2: must be understood"),
    _accepted("absolute, of a scheme in capitals", b"HTTP://x/a", b"/a", "RFC 3986 3.1"),
    _accepted("absolute, without a path", b"http://x", b"/", "RFC 9112 3.2.2"),
]
