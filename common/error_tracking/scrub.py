"""The last look before a report leaves: whatever may name a person or carry a credential stays here."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentry_sdk.types import Event

# What an exception's text may quote: PostgreSQL's DETAIL shows rows, pydantic the input, URLs and headers credentials.
_PERSONAL = (
    (re.compile(r"\s*\bDETAIL:.*", re.DOTALL), ""),
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
        for pattern, replacement in _PERSONAL:
            exception["value"] = pattern.sub(replacement, exception.get("value") or "")
        for frame in (exception.get("stacktrace") or {}).get("frames", []):
            frame.pop("vars", None)
    return event
