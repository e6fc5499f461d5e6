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
    """`headers` are the identity headers as they go upstream; `rule` is the key's own limit."""

    identity: Identity
    subject: str
    headers: tuple[Header, ...]
    lines: bytes  # the same, encoded
    usage: bytes  # who this is in usage records
    named: Mapping[str, str | None]  # and in access lines
    rule: Rule | None = None

    @classmethod
    def of(cls, identity: Identity, rule: Rule | None = None) -> "Caller":
        headers = tuple((name.encode(), value.encode()) for name, value in identity.headers())
        named = {"user": _text(identity.user), "org": str(identity.org)}
        if identity.key is not None:
            named["key"] = str(identity.key)
        return cls(identity, identity.subject, headers, encode_lines(headers), who(identity), named, rule)


def _text(user: UUID | None) -> str | None:
    return None if user is None else str(user)
