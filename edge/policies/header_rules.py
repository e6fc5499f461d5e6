"""Headers that a route sets or removes, on requests and on answers: checked and compiled when the table is read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge.identity.caller import Header
from edge.policies.security_headers import OVERRIDABLE, SECURITY, lines
from edge.upstream.headers import folded, passes_down, passes_up

# RFC 9110 section 5.6.2, and 5.5 without obs-text, which servers read in more than one way.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_MAY_SET_UP = frozenset({b"host"})
_NOT_UP = frozenset({b"via"})  # the edge finds loops by it
_MAY_SET_DOWN = OVERRIDABLE | {b"server"}
# They describe the body as it is sent, or belong to policies of their own (CORS, limits, compression).
_NOT_DOWN = frozenset({b"content-encoding", b"content-range", b"vary"})
_NOT_DOWN_PREFIXES = (b"access-control-", b"x-ratelimit-")


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """`replaced` are folded names that do not pass; `added` follow what does."""

    replaced: frozenset[bytes]
    added: tuple[Header, ...]

    def apply(self, headers: list[Header]) -> list[Header]:
        return [*(header for header in headers if folded(header[0]) not in self.replaced), *self.added]


def compiled(wanted: Mapping[str, str], removed: Sequence[str]) -> HeaderRules | None:
    """None where nothing is asked for."""
    if not wanted and not removed:
        return None
    added = tuple((name.encode(), value.encode()) for name, value in wanted.items())
    return HeaderRules(frozenset(folded(name.encode()) for name in (*wanted, *removed)), added)


def security_lines(rules: HeaderRules | None) -> bytes:
    """The security headers of a route's answers that its rules leave; what they set instead, the rules add."""
    replaced = rules.replaced if rules is not None else frozenset()
    return lines(header for header in SECURITY if folded(header[0]) not in replaced)


def require_request_rules(wanted: Mapping[str, str], removed: Sequence[str]) -> None:
    """Raises ValueError for the first rule that cannot be kept."""
    _require_grammar(wanted, removed)
    for name in (*wanted, *removed):
        key = folded(name.encode())
        passes = passes_up(name.encode()) and key not in _NOT_UP
        if not passes and not (key in _MAY_SET_UP and name in wanted):
            raise ValueError(f"{name} is the edge's own towards an upstream")
        if key == b"host" and _HOST.fullmatch(wanted[name]) is None:
            raise ValueError(f"{name} must be a host, with a port if need be")


def require_response_rules(wanted: Mapping[str, str], removed: Sequence[str]) -> None:
    """Raises ValueError for the first rule that cannot be kept."""
    _require_grammar(wanted, removed)
    for name in (*wanted, *removed):
        key = folded(name.encode())
        passes = passes_down(name.encode()) and key not in _NOT_DOWN and not key.startswith(_NOT_DOWN_PREFIXES)
        if not passes and key not in _MAY_SET_DOWN:
            raise ValueError(f"{name} is the edge's own towards a client")


def _require_grammar(wanted: Mapping[str, str], removed: Sequence[str]) -> None:
    names = [*wanted, *removed]
    for name in names:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no header name")
    if len({folded(name.encode()) for name in names}) < len(names):
        raise ValueError("each header once; what is set replaces what was there")
    for name, value in wanted.items():
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of {name} must be visible ASCII, without line ends or space around it")
