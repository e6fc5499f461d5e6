"""A proven caller, with everything the hot path needs already computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from common.http1 import encode_lines
from common.identity import Identity
from common.limits import Rule
from common.usage import who

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Caller:
    """`lines` are the identity headers as they go upstream, encoded; `rule` is the key's own limit."""

    identity: Identity
    subject: str
    lines: bytes
    usage: bytes  # who this is in usage records
    named: Mapping[str, str | None]  # and in access lines
    rule: Rule | None = None

    @classmethod
    def of(cls, identity: Identity, rule: Rule | None = None) -> "Caller":
        named = {"user": _text(identity.user), "org": str(identity.org)}
        if identity.key is not None:
            named["key"] = str(identity.key)
        return cls(identity, identity.subject, encode_lines(_headers(identity)), who(identity), named, rule)

    def headers(self) -> list[Header]:
        """The identity headers one by one. Not kept: tens of thousands of callers are remembered."""
        return _headers(self.identity)


def _headers(identity: Identity) -> list[Header]:
    return [(name.encode(), value.encode()) for name, value in identity.headers()]


def _text(user: UUID | None) -> str | None:
    return None if user is None else str(user)
