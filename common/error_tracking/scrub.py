"""The last look before a report leaves: whatever may name a person or carry a credential stays here."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentry_sdk.types import Event

# More of a text says nothing more, and the patterns take time that grows with its square.
_TEXT_CHARACTERS_MAX = 2000
# What an exception's text may quote: PostgreSQL's DETAIL shows rows, pydantic the input, URLs and headers credentials.
_PERSONAL = (
    (re.compile(r"\bDETAIL:.*", re.DOTALL), ""),
    (re.compile(r"input_value=.*?(?=, input_type=)", re.DOTALL), "input_value=[redacted]"),
    (re.compile(r"\b(Bearer|ApiKey|Basic)\s+\S+", re.IGNORECASE), r"\1 [redacted]"),
    (re.compile(r"\bsk_live_\w+|\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "[redacted]"),
    (re.compile(r"(?<=://)[^/\s@]+@"), "[redacted]@"),
    (re.compile(r"[^\s@'\"<>(]+@[^\s@'\"<>),]+\.\w+"), "[redacted]"),
)


def scrub(event: "Event", _hint: dict[str, Any]) -> "Event":
    """The last look before an event leaves: whatever may name a person or carry a credential stays here."""
    for part in ("request", "user", "breadcrumbs", "extra", "modules"):
        event.pop(part, None)  # type: ignore[misc]
    for exception in event.get("exception", {}).get("values", []):
        exception["value"] = _clean(exception.get("value") or "")
        for frame in (exception.get("stacktrace") or {}).get("frames", []):
            frame.pop("vars", None)
    return event


def _clean(text: str) -> str:
    if len(text) > _TEXT_CHARACTERS_MAX:
        # Not in the middle of a word: half a credential or address is none to the patterns.
        text = f"{text[:_TEXT_CHARACTERS_MAX].rpartition(' ')[0]} [cut]"
    for pattern, replacement in _PERSONAL:
        text = pattern.sub(replacement, text)
    return text.rstrip()
