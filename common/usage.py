"""Usage records: what the edge appends to a stream in Valkey for every call with a proven caller, and core reads.

An entry of the stream STREAM has one field `r` for each of its records, up to RECORDS_PER_ENTRY of them; a record's
identity is its entry's id and its place in it. A record is 58 bytes of who, when and how, then `METHOD template`:

    user, organization, key (16 bytes each, zeros for none), unix milliseconds (u48), status (u16), microseconds (u32)

All numbers are big-endian. Where the stream is trimmed before it is read, records are lost and count as dropped.
"""

import struct
from dataclasses import dataclass
from uuid import UUID

from common.identity import Identity

STREAM = "gatehouse:usage"
FIELD = b"r"
RECORDS_PER_ENTRY = 10
ENTRIES_MAX = 100_000  # a million records, about 90 MB in the store that also holds the limits
_WHEN_AND_HOW = struct.Struct(">HIHI")  # milliseconds in two parts
_MICROSECONDS_MAX = 2**32 - 1
_NOBODY = bytes(16)


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One call. `at_ms` is the unix millisecond of its end."""

    user: UUID | None
    org: UUID
    key: UUID | None
    method: str
    route: str
    status: int
    microseconds: int
    at_ms: int


def who(identity: Identity) -> bytes:
    """The first 48 bytes of every record of a caller, worth computing once."""
    ids = (identity.user, identity.org, identity.key)
    return b"".join(_NOBODY if value is None else value.bytes for value in ids)


def encode(caller: bytes, at_ms: int, status: int, seconds: float, what: str) -> bytes:
    """A record; `caller` comes from `who`, `what` is `METHOD template`."""
    microseconds = min(int(seconds * 1e6), _MICROSECONDS_MAX)
    return caller + _WHEN_AND_HOW.pack(at_ms >> 32, at_ms & 0xFFFFFFFF, status, microseconds) + what.encode()


def decode(record: bytes) -> UsageRecord:
    """Raises ValueError for what `encode` did not make."""
    try:
        high, low, status, microseconds = _WHEN_AND_HOW.unpack_from(record, 48)
    except struct.error as error:
        raise ValueError("a usage record is too short") from error
    method, _, route = record[48 + _WHEN_AND_HOW.size :].decode().partition(" ")
    user, org, key = (
        None if raw == _NOBODY else UUID(bytes=raw) for raw in (record[:16], record[16:32], record[32:48])
    )
    if org is None or not route:
        raise ValueError("a usage record without organization or route")
    return UsageRecord(user, org, key, method, route, status, microseconds, (high << 32) | low)
