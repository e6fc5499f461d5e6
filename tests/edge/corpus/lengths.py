"""Where a body ends, told by Content-Length (RFC 9110 section 8.6, RFC 9112 section 6)."""

from tests.edge.corpus.case import HIDDEN, Case, post, posted

_GRAMMAR = "RFC 9110 8.6: Content-Length = 1*DIGIT"
_FOLD = "RFC 9112 5.2: no obs-fold outside message/http"


def _length(name: str, value: bytes, why: str = _GRAMMAR) -> Case:
    return Case(f"length {name}", posted(b"Content-Length: " + value, body=b"hello" + HIDDEN), "400", why)


REFUSED = [
    _length("negative", b"-5"),
    _length("with a plus", b"+5"),
    _length("hexadecimal", b"0x5"),
    _length("with a fraction", b"5.0"),
    _length("with an exponent", b"5e0"),
    _length("empty", b""),
    _length("of words", b"five"),
    _length("quoted", b'"5"'),
    _length("with a parameter", b"5;q=1"),
    _length("of two numbers", b"5 5"),
    _length("with an underscore", b"1_0"),
    _length("of Arabic digits", "٥".encode()),
    _length("followed by NUL", b"5\x00"),
    _length("followed by vertical tab", b"5\x0b"),
    _length("followed by form feed", b"5\x0c"),
    _length("followed by a no-break space", b"5\xa0"),
    _length("past 64 bits", b"18446744073709551621"),
    _length("of forty digits", b"9" * 40),
    _length(
        "list of equals", b"5, 5", "RFC 9110 8.6: may be refused, and is: who does not fold the list reads another"
    ),
    _length("list of differing", b"5, 0", "RFC 9112 6.3: an invalid length is an unrecoverable error"),
    Case(
        "length twice, equal",
        posted(b"Content-Length: 5", b"Content-Length: 5", body=b"hello" + HIDDEN),
        "400",
        "RFC 9110 8.6: may be refused, and is",
    ),
    Case(
        "length twice, differing",
        posted(b"Content-Length: 5", b"Content-Length: 0", body=b"hello" + HIDDEN),
        "400",
        "RFC 9112 6.3: an invalid length is an unrecoverable error",
    ),
    Case(
        "length twice, the second in other letters",
        posted(b"Content-Length: 0", b"CONTENT-LENGTH: 5", body=b"hello" + HIDDEN),
        "400",
        "RFC 9110 5.1: names are case-insensitive",
    ),
    Case(
        "length with a space before the colon",
        posted(b"Content-Length : 5", body=b"hello" + HIDDEN),
        "400",
        "RFC 9112 5.1: no white space between name and colon",
    ),
    Case(
        "length with a tab before the colon",
        posted(b"Content-Length\t: 5", body=b"hello" + HIDDEN),
        "400",
        "RFC 9112 5.1: no white space between name and colon",
    ),
    Case("length folded", posted(b"Content-Length:\r\n 5", body=b"hello" + HIDDEN), "400", _FOLD),
    Case("length continued", posted(b"Content-Length: 5\r\n 0", body=b"hello" + HIDDEN), "400", _FOLD),
    Case("length as a continuation", posted(b"A: b", b" Content-Length: 5", body=b"hello" + HIDDEN), "400", _FOLD),
    Case(
        "length behind a bare CR",
        posted(b"A: b\rContent-Length: 5", body=b"hello" + HIDDEN),
        "400",
        "RFC 9112 2.2: a bare CR is invalid",
    ),
    Case(
        "length behind a bare LF",
        posted(b"A: b\nContent-Length: 5", body=b"hello" + HIDDEN),
        "400",
        "RFC 9112 2.2: only a lenient reader takes LF for a line end",
    ),
    Case(
        "length with NUL in its name",
        posted(b"Content-\x00Length: 5", body=b"hello" + HIDDEN),
        "400",
        "RFC 9110 5.1: a name is a token",
    ),
    Case(
        "length larger than the route takes",
        posted(b"Content-Length: 99999999", body=b"hello"),
        "413",
        "RFC 9110 15.5.14",
    ),
]

ACCEPTED = [
    Case("length plain", post(b"Content-Length: 5", body=b"hello"), "200", "RFC 9112 6.2", (b"POST / hello",)),
    Case("length zero", post(b"Content-Length: 0"), "200", "RFC 9112 6.2", (b"POST / ",)),
    Case("length absent", post(), "200", "RFC 9112 6.3: no body", (b"POST / ",)),
    Case(
        "length with leading zeros",
        post(b"Content-Length: 0005", body=b"hello"),
        "200",
        "RFC 9110 8.6: 1*DIGIT; written anew as 5",
        (b"POST / hello",),
    ),
    Case(
        "length in white space",
        post(b"Content-Length: \t 5 \t", body=b"hello"),
        "200",
        "RFC 9110 5.5: white space around a value is no part of it",
        (b"POST / hello",),
    ),
    Case(
        "length without a space",
        post(b"Content-Length:5", body=b"hello"),
        "200",
        "RFC 9112 5: OWS is optional",
        (b"POST / hello",),
    ),
    Case(
        "length that Connection names",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close, Content-Length\r\n\r\nhello",
        "200",
        "RFC 9112 6: framing is the edge's own, whatever Connection names",
        (b"POST / hello",),
    ),
    Case(
        "length spelled with an underscore",
        posted(b"Content_Length: 5")
        + HIDDEN.replace(b"hidden", b"second").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        "200 200",
        "another header, which says nothing; it ends at the edge, because CGI would take it for Content-Length",
        (b"POST / ", b"GET /second "),
    ),
    Case(
        "length of a GET",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "200",
        "RFC 9110 9.3.1: no meaning, but framing",
        (b"GET / hello",),
    ),
    Case(
        "length shorter than what comes",
        posted(b"Content-Length: 2", body=b"hello" + HIDDEN),
        "200 400",
        "RFC 9112 6.3: what is behind the body is another request",
        (b"POST / he",),
    ),
]

CASES = [*REFUSED, *ACCEPTED]
