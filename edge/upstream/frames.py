"""Where WebSocket frames begin and end (RFC 6455 section 5.2). Their payload is neither looked at nor kept.

A relay needs no more than this to write a Close frame of its own between two frames of others, and to stop a client
that does not mask.
"""

import os

_CLOSE = 8
_MASKED = 128


class Unmasked(Exception):
    """A client's frame has no mask: close with 1002 (RFC 6455 section 5.1). `offset` bytes before it are good."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class Frames:
    """Follows the frames of one direction. `rest` bytes of the current frame are still to come."""

    __slots__ = ("_head", "_must_mask", "has_closed", "rest")

    def __init__(self, *, must_mask: bool) -> None:
        self.rest = 0
        self.has_closed = False  # a Close frame has begun: no other may follow it
        self._must_mask = must_mask
        self._head = b""  # the beginning of a frame, too short to tell its length

    @property
    def in_head(self) -> bool:
        return self._head != b""

    def follow(self, data: bytes) -> None:
        """Reads on. Raises Unmasked; then there is nothing more to follow."""
        at, size = self.rest, len(data)
        carried = len(self._head)
        if carried:
            data, self._head = self._head + data, b""
            size += carried
        while at < size:
            length = self._length(data, at, size)
            if length is None:
                self._head = data[at:]
                at = size
            elif length:
                at += length
            else:
                raise Unmasked(max(0, at - carried))
        self.rest = at - size

    def _length(self, data: bytes, at: int, size: int) -> int | None:
        """Of the whole frame at `at`; None when its head is not all here, 0 when it lacks its mask."""
        if size - at < 2:
            return None
        second = data[at + 1]
        if second < _MASKED and self._must_mask:
            return 0
        head, payload = (2 if second < _MASKED else 6), second & 127
        if payload > 125:
            width = 2 if payload == 126 else 8
            if size - at < 2 + width:
                return None
            payload = int.from_bytes(data[at + 2 : at + 2 + width])
            head += width
        if data[at] & 15 == _CLOSE:
            self.has_closed = True
        return head + payload


def close_frame(code: int, *, masked: bool) -> bytes:
    """A Close frame with a status code and no reason (RFC 6455 section 5.5.1)."""
    body = code.to_bytes(2)
    if not masked:
        return b"\x88\x02" + body
    mask = os.urandom(4)
    return b"\x88\x82" + mask + bytes((body[0] ^ mask[0], body[1] ^ mask[1]))
