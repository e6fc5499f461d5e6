"""Transfer-Encoding: where it stands, what it names, what stands beside it (RFC 9112 sections 6.1 and 7)."""

from tests.edge.corpus.case import HIDDEN, Case, post, posted

_BODY = b"5\r\nhello\r\n0\r\n\r\n"
_NOT_CHUNKED = "RFC 9112 6.3: a request whose final coding is not chunked has no length"
_ONLY_CHUNKED = "RFC 9112 6.1: a coding not understood; only `chunked` alone is"
_BOTH = "RFC 9112 6.1: both is an attempt at smuggling"
_COLON = "RFC 9112 5.1: no white space between name and colon"
_FOLD = "RFC 9112 5.2: no obs-fold outside message/http"


def _coding(name: str, value: bytes, why: str = _ONLY_CHUNKED) -> Case:
    return Case(f"coding {name}", posted(b"Transfer-Encoding: " + value, body=_BODY + HIDDEN), "400", why)


def _lines(name: str, *lines: bytes, why: str) -> Case:
    return Case(f"coding {name}", posted(*lines, body=_BODY + HIDDEN), "400", why)


def _accepted(name: str, *lines: bytes, why: str) -> Case:
    return Case(f"coding {name}", post(*lines, body=_BODY), "200", why, (b"POST / hello",))


CASES = [
    _coding("unknown", b"xchunked", _NOT_CHUNKED),
    _coding("identity", b"identity", _NOT_CHUNKED),
    _coding("chunked twice", b"chunked, chunked", "RFC 9112 6.1: chunked is applied once"),
    _coding("chunked then identity", b"chunked, identity", _NOT_CHUNKED),
    _coding("identity then chunked", b"identity, chunked"),
    _coding("gzip then chunked", b"gzip, chunked"),
    _coding("chunked then gzip", b"chunked, gzip", _NOT_CHUNKED),
    _coding("with a parameter", b"chunked;q=1", _NOT_CHUNKED),
    _coding("quoted", b'"chunked"', _NOT_CHUNKED),
    _coding("empty", b"", _NOT_CHUNKED),
    _coding("list that ends empty", b"chunked,"),
    _coding("list that begins empty", b",chunked"),
    _coding("with a space inside", b"chu nked", _NOT_CHUNKED),
    _coding("before a tab", b"chunked\t", "RFC 9110 5.5 lets it pass; some readers do not trim it"),
    _coding("behind vertical tab", b"\x0bchunked", "RFC 9110 5.5: no control characters in values"),
    _coding("before vertical tab", b"chunked\x0b", "RFC 9110 5.5: no control characters in values"),
    _coding("before NUL", b"chunked\x00", "RFC 9110 5.5: no control characters in values"),
    _coding("before a no-break space", b"chunked\xa0", _NOT_CHUNKED),
    _coding("behind a bare CR", b"\rchunked", "RFC 9112 2.2: a bare CR is invalid"),
    _coding("folded", b"\r\n chunked", _FOLD),
    _coding("continued", b"chunked\r\n , identity", _FOLD),
    _coding("with a long s", "chunſed".encode(), _NOT_CHUNKED),
    _lines("and length", b"Transfer-Encoding: chunked", b"Content-Length: 5", why=_BOTH),
    _lines("behind length", b"Content-Length: 5", b"Transfer-Encoding: chunked", why=_BOTH),
    _lines("and length zero", b"Transfer-Encoding: chunked", b"Content-Length: 0", why=_BOTH),
    _lines("unknown and length", b"Transfer-Encoding: x", b"Content-Length: 5", why=_BOTH),
    _lines("and length spelled otherwise", b"transfer-encoding: CHUNKED", b"content-length: 5", why=_BOTH),
    _lines("twice", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", why="RFC 9112 6.1: applied once"),
    _lines("in two lines", b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", why=_ONLY_CHUNKED),
    _lines("hidden by a second", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", why=_NOT_CHUNKED),
    _lines("with a space before the colon", b"Transfer-Encoding : chunked", why=_COLON),
    _lines("with a tab before the colon", b"Transfer-Encoding\t: chunked", why=_COLON),
    _lines("spaced, and length", b"Transfer-Encoding : chunked", b"Content-Length: 5", why=_COLON),
    _lines("as a continuation", b"A: b", b" Transfer-Encoding: chunked", why=_FOLD),
    _lines("as a continuation by tab", b"Content-Length: 5", b"\tTransfer-Encoding: chunked", why=_FOLD),
    _lines("behind a bare LF", b"Content-Length: 5", b"A: b\nTransfer-Encoding: chunked", why="RFC 9112 2.2"),
    _lines(
        "behind a bare CR in a value", b"Content-Length: 5", b"A: b\rTransfer-Encoding: chunked", why="RFC 9112 2.2"
    ),
    _lines("with NUL in its name", b"Transfer\x00-Encoding: chunked", why="RFC 9110 5.1: a name is a token"),
    Case(
        "coding in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + _BODY + HIDDEN,
        "400",
        "RFC 9112 6.1: its framing is to be treated as faulty",
    ),
    Case(
        "coding and length in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + _BODY + HIDDEN,
        "400",
        _BOTH,
    ),
    _accepted("chunked", b"Transfer-Encoding: chunked", why="RFC 9112 7.1"),
    _accepted("chunked in capitals", b"TRANSFER-ENCODING: CHUNKED", why="RFC 9112 7: names are case-insensitive"),
    _accepted("behind white space", b"Transfer-Encoding: \t chunked", why="RFC 9110 5.5"),
    Case(
        "coding that Connection names",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close, Transfer-Encoding\r\n\r\n"
        + _BODY,
        "200",
        "RFC 9112 6: framing is the edge's own",
        (b"POST / hello",),
    ),
    Case(
        "coding spelled with an underscore, and length",
        post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello"),
        "200",
        "another header, which says nothing; it ends at the edge",
        (b"POST / hello",),
    ),
    Case(
        "coding of a GET",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + _BODY,
        "200",
        "RFC 9110 9.3.1: no meaning, but framing",
        (b"GET / hello",),
    ),
]
