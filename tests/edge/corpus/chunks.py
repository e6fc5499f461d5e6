"""Chunked bodies (RFC 9112 section 7.1): sizes, extensions, line ends, trailers."""

from tests.edge.corpus.case import HIDDEN, Case, chunked, posted

_SIZE = "RFC 9112 7.1: chunk-size = 1*HEXDIG"
_ENDS = "RFC 9112 7.1: chunk lines and data end with CRLF"
_TRAILERS = "RFC 9112 7.1.2: trailers are fields like any other"


def _refused(name: str, body: bytes, why: str) -> Case:
    return Case(f"chunk {name}", posted(b"Transfer-Encoding: chunked", body=body + HIDDEN), "400", why)


def _accepted(name: str, body: bytes, why: str, read: bytes = b"hello") -> Case:
    return Case(f"chunk {name}", chunked(body), "200", why, (b"POST / " + read,))


CASES = [
    _refused("size hexadecimal by 0x", b"0x5\r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("size with a plus", b"+5\r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("size negative", b"-5\r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("size with a letter too many", b"5g\r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("size with an underscore", b"0_5\r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("size absent", b"\r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("size absent before an extension", b";a=b\r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("size behind a space", b" 5\r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("size before a tab", b"5\t\r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("size before a space", b"5 \r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("size past 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n", _SIZE + ", and must not overflow"),
    _refused("size of forty digits", b"f" * 40 + b"\r\nhello\r\n0\r\n\r\n", _SIZE + ", and must not overflow"),
    _refused("size quoted", b'"5"\r\nhello\r\n0\r\n\r\n', _SIZE),
    _refused("size with NUL", b"5\x00\r\nhello\r\n0\r\n\r\n", _SIZE),
    _refused("lines ending in LF", b"5\nhello\n0\n\n", _ENDS),
    _refused("lines ending in CR", b"5\rhello\r0\r\r", _ENDS),
    _refused("size line ending in LF", b"5\nhello\r\n0\r\n\r\n", _ENDS),
    _refused("data ending in LF", b"5\r\nhello\n0\r\n\r\n", _ENDS),
    _refused("data without an end", b"5\r\nhello0\r\n\r\n", _ENDS),
    _refused("data longer than its size", b"5\r\nhello world\r\n0\r\n\r\n", _ENDS),
    _refused("data shorter than its size", b"8\r\nhello\r\n0\r\n\r\n", _ENDS),
    _refused("last line ending in LF", b"5\r\nhello\r\n0\n\r\n", _ENDS),
    _refused("body ending in LF", b"5\r\nhello\r\n0\r\n\n", _ENDS),
    _refused("extension with a bare CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n", "RFC 9112 2.2: a bare CR is invalid"),
    _refused("extension ending in LF", b"5;a=b\nhello\r\n0\r\n\r\n", _ENDS),
    _refused("extension hiding a line", b"5;a\nxx\r\nhello\r\n0\r\n\r\n", _ENDS),
    _refused("extension with NUL", b"5;a=\x00\r\nhello\r\n0\r\n\r\n", "RFC 9112 7.1.1: a token or a quoted string"),
    _refused("trailer with a space before the colon", b"5\r\nhello\r\n0\r\nA : b\r\n\r\n", _TRAILERS),
    _refused("trailer without a colon", b"5\r\nhello\r\n0\r\nno trailer\r\n\r\n", _TRAILERS),
    _refused("trailer folded", b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n", _TRAILERS),
    _refused("trailer with a bare CR", b"5\r\nhello\r\n0\r\nA: b\rc\r\n\r\n", _TRAILERS),
    _refused("trailer with NUL", b"5\r\nhello\r\n0\r\nA: \x00\r\n\r\n", _TRAILERS),
    _refused("end that is a request", b"5\r\nhello\r\n0\r\n", _TRAILERS),
    _refused(
        "trailer of a length", b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n", "RFC 9110 6.5.1: never for framing"
    ),
    _refused(
        "trailer of a coding", b"5\r\nhello\r\n0\r\nTransfer-Encoding: x\r\n\r\n", "RFC 9110 6.5.1: never for framing"
    ),
    _accepted("plain", b"5\r\nhello\r\n0\r\n\r\n", "RFC 9112 7.1"),
    _accepted("in two", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "RFC 9112 7.1"),
    _accepted("empty", b"0\r\n\r\n", "RFC 9112 7.1", b""),
    _accepted("of size with leading zeros", b"0000000005\r\nhello\r\n000\r\n\r\n", _SIZE),
    _accepted("of size in capitals", b"A\r\nhellohello\r\n0\r\n\r\n", _SIZE, b"hellohello"),
    _accepted("with an extension", b"5;a=b\r\nhello\r\n0;c\r\n\r\n", "RFC 9112 7.1.1: unknown extensions are ignored"),
    _accepted("with a quoted extension", b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', "RFC 9112 7.1.1"),
    _accepted(
        "data that looks like a chunk", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", "data are counted, not read", b"0\r\n\r\n"
    ),
    _accepted("data that looks like a request", b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN), "the same", HIDDEN),
    _accepted("with a trailer", b"5\r\nhello\r\n0\r\nA: b\r\n\r\n", "RFC 9110 6.5.1: dropped"),
]
