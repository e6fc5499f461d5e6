"""Reading answers with llhttp, through httptools, without its lenient options.

What llhttp lets pass that a relay must not is refused here: versions other than 1.0 and 1.1, transfer codings other
than one "chunked", bodies announced by 1xx and 204, heads over 64 KiB, and line ends behind the answer's end.
"""

from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from common.http1.errors import BadAnswer

HEAD_BYTES_MAX = 64 * 1024

# How the end of a body is told.
UNTIL_CLOSE, LENGTH, CHUNKED = range(3)


class AnswerParser:
    """Reads the answers of one connection, one after the other.

    After each `feed`: `status` is 0 until the head is complete, `chunks` holds the body bytes that came (whoever takes
    them clears the list), `is_complete` tells the answer's end, `has_surplus` that bytes came behind it.
    """

    __slots__ = (
        "_head_only",
        "_headers",
        "_parser",
        "_quiet_bytes",
        "_reason",
        "chunks",
        "framing",
        "has_surplus",
        "headers",
        "interim_answers",
        "is_complete",
        "keep_alive",
        "leftover",
        "on_body",
        "on_status",
        "status",
    )

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.leftover: bytes | None = None  # after 101: the bytes behind the head
        self.framing = UNTIL_CLOSE
        self.keep_alive = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason: list[bytes] = []
        # The parser calls these for every answer: as C functions they cost a third.
        self.on_body: Callable[[bytes], None] = self.chunks.append
        self.on_status: Callable[[bytes], None] = self._reason.append
        self._parser = HttpResponseParser(self)
        self.begin(head_only=False)

    def begin(self, head_only: bool) -> None:
        """A request was sent; `head_only` if it was HEAD, whose answers have no body whatever they announce."""
        self.status = 0
        self.is_complete = self.has_surplus = False
        self.interim_answers = 0
        self._head_only = head_only
        self._quiet_bytes = 0  # read since the request, later since the last byte of body
        if self._reason:
            self._reason.clear()

    def end(self) -> None:
        """No answer will come any more. The parser calls us, and we hold it: nothing else would let go of either."""
        del self._parser

    @property
    def has_begun(self) -> bool:
        return self.status != 0 or self._quiet_bytes != 0

    @property
    def reason(self) -> bytes:
        return b"".join(self._reason)

    def feed(self, data: bytes) -> None:
        """Raises BadAnswer; a fault behind the answer's end is only `has_surplus`."""
        in_head = self.status == 0
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.leftover = data[upgrade.args[0] :]
        except HttpParserError as error:
            if not self.is_complete:
                cause = error.__context__
                raise cause if isinstance(cause, BadAnswer) else BadAnswer(str(error)) from None
            self.has_surplus = True
        if self.is_complete and (data[-1] <= 13 or self._head_only):
            self._check_end(data, in_head)
        if not self.is_complete or self._quiet_bytes + len(data) > HEAD_BYTES_MAX:
            self._check_size(data, in_head)

    def _check_size(self, data: bytes, in_head: bool) -> None:
        """Bounds what carries no body: heads, interim answers, trailers, chunk extensions."""
        self._quiet_bytes += len(data)
        if self._quiet_bytes > HEAD_BYTES_MAX:
            head_bytes = sum(len(name) + len(value) + 4 for name, value in self.headers) if in_head else 0
            if not self.status or head_bytes > HEAD_BYTES_MAX or not self.chunks:
                raise BadAnswer("the header section is too large")
        if self.chunks:
            self._quiet_bytes = 0

    def _check_end(self, data: bytes, in_head: bool) -> None:
        """Finds what llhttp does not report behind an answer: line ends, which it skips, and a body to HEAD."""
        if self._head_only:
            self.has_surplus = self.has_surplus or data.find(b"\r\n\r\n") + 4 != len(data)
            self.chunks.clear()
            self._parser = HttpResponseParser(self)  # the old one may wait for the body announced
        elif not self.has_surplus:
            line_ends = len(data) - len(data.rstrip(b"\r\n"))
            own = 4  # a head's, or the last chunk's
            if self.framing == LENGTH and self.chunks:
                tail = self.chunks[-1]
                own = len(tail) - len(tail.rstrip(b"\r\n"))
                if own == len(tail) and in_head:
                    own += 4
            self.has_surplus = line_ends > own

    # --- the parser's callbacks; what they raise stops it ------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise BadAnswer("bytes behind the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        status = parser.get_status_code()
        version = parser.get_http_version()
        if version not in ("1.1", "1.0") or status < 100:
            raise BadAnswer(f"HTTP/{version} with status {status}")
        self._read_framing(status, version)
        if status >= 200 or status == 101:
            self.status = status
            self.keep_alive = parser.should_keep_alive()  # the parser forgets it at the answer's end
            self.headers, self._headers = self._headers, []  # what comes now are trailers
            if self._head_only and status != 101:
                self.is_complete = True
                self.keep_alive = self._persists(version)  # the parser expects a body until close

    def _read_framing(self, status: int, version: str) -> None:
        framing = UNTIL_CLOSE
        for name, value in self._headers:
            size = len(name)
            if size == 14 and name.lower() == b"content-length":
                framing = LENGTH
            elif size == 17 and name.lower() == b"transfer-encoding":
                if framing != UNTIL_CLOSE or version != "1.1" or value.strip().lower() != b"chunked":
                    raise BadAnswer("a Transfer-Encoding other than chunked alone")
                framing = CHUNKED
        self.framing = framing
        if framing != UNTIL_CLOSE and (status < 200 or status == 204):
            self._drop_empty_length(status)

    def _drop_empty_length(self, status: int) -> None:
        """Many servers write Content-Length: 0 where RFC 9110 §8.6 forbids it: harmless, but not passed on."""
        rest = []
        for name, value in self._headers:
            lower = name.lower()
            if lower == b"transfer-encoding" or (lower == b"content-length" and value.strip() != b"0"):
                raise BadAnswer(f"a {status} that announces a body")
            if lower != b"content-length":
                rest.append((name, value))
        self._headers = rest

    def _persists(self, version: str) -> bool:
        """Whether the upstream keeps the connection open (RFC 9112 §9.3)."""
        values = [value for name, value in self.headers if name.lower() == b"connection"]
        options = {option.strip().lower() for option in b",".join(values).split(b",")}
        return b"close" not in options and (version == "1.1" or b"keep-alive" in options)

    def on_message_complete(self) -> None:
        if self._headers:
            self._headers.clear()
        if self.status >= 200:
            self.is_complete = True
        elif self.status == 0:
            self.interim_answers += 1
            self._reason.clear()
