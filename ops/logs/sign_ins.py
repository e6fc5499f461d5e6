"""What counts as a failed sign-in: the rule of the fail2ban filter (ops/fail2ban/), for people who search."""

import re
from collections.abc import Mapping
from typing import Any

# Where passwords and second factors are tried: the API, the guides' unversioned alias, the console (master password
# too). A test holds this against the filter's own list.
PATHS = r"/(?:(?:api/v1/)?auth/(?:login|second-factor)|console/login)(?:/[a-z-]+)?"
_PATH = re.compile(PATHS)
_METHODS = frozenset({"POST", "PUT", "DELETE"})
_REFUSED = frozenset({401, 403, 429})


def is_failed(fields: Mapping[str, Any]) -> bool:
    """Whether an access line is one. Of the edge alone: only it knows the address, and every sign-in passes it."""
    return (
        fields.get("service") == "edge"
        and fields.get("event") == "request"
        and fields.get("status") in _REFUSED
        and fields.get("method") in _METHODS
        # A full general limit says nothing about passwords. Other forms than JSON do not tell which limit it was.
        and fields.get("limit") in (None, "auth")
        and _PATH.fullmatch(str(fields.get("path", ""))) is not None
    )


def summary(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What matters of it, in the order in which it is shown."""
    return {name: fields.get(name) for name in ("time", "address", "method", "path", "status", "request_id")}
