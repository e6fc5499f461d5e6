"""A proven caller, with everything the hot path needs already computed."""

from dataclasses import dataclass

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
    rule: Rule | None = None

    @classmethod
    def of(cls, identity: Identity, rule: Rule | None = None) -> "Caller":
        headers = tuple((name.encode(), value.encode()) for name, value in identity.headers())
        return cls(identity, identity.subject, headers, encode_lines(headers), who(identity), rule)
