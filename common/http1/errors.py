"""What can go wrong between a request and its answer."""


class UpstreamError(Exception):
    """The upstream gave no usable answer. Its connection is already closed and is never used again."""

    never_sent = False  # True: no byte of the request left, so any request may be sent elsewhere


class PoolExhausted(UpstreamError):
    """Every connection the pool may open is carrying a request; nothing was queued."""

    never_sent = True


class ConnectFailed(UpstreamError):
    """The connection was refused, reset or failed its TLS handshake, or the name did not resolve."""

    never_sent = True


class ConnectTimeout(UpstreamError):
    """No connection, TLS included, within `Timeouts.connect` seconds."""

    never_sent = True


class FirstByteTimeout(UpstreamError):
    """The request was sent, but no complete answer head came within `Timeouts.first_byte` seconds."""


class IdleTimeout(UpstreamError):
    """No byte moved for `Timeouts.idle` seconds in the middle of the request's or the answer's body."""


class UpstreamClosed(UpstreamError):
    """The upstream closed the connection before the end of its answer."""

    def __init__(self, message: str, *, answer_begun: bool) -> None:
        super().__init__(message)
        self.answer_begun = answer_begun


class BadAnswer(UpstreamError):
    """The upstream sent something that is not one unambiguous HTTP/1 answer."""


class AnswerTooLarge(UpstreamError):
    """The body is longer than the limit its reader set."""


class InvalidRequest(ValueError):
    """The caller's request cannot be written unambiguously: the fault is not the upstream's."""
