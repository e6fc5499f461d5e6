"""Roles as permission sets, and how a permission is matched.

A permission is `resource:action`, actions `read`, `write`, `manage`. A set may hold `*:action`, which
covers every resource but `platform`: a new module needs no line here, and no organization's own role
ever reaches the platform.
"""

import re
from collections.abc import Iterable

PERMISSION = re.compile(r"(\*|[a-z][a-z0-9_-]{0,62}):(read|write|manage)")

# Everyone may look after their own account; what differs is the organization's data.
_SELF = frozenset({"account:read", "account:write"})

ROLES: dict[str, frozenset[str]] = {
    "admin": frozenset({"*:read", "*:write", "*:manage"}),
    "operator": _SELF | {"*:read"},
    "user": _SELF | {"*:read", "*:write"},
    "viewer": _SELF | {"*:read"},
}

# What the roles hold beyond that in the system organization, and only there.
SYSTEM_ROLES: dict[str, frozenset[str]] = {
    "admin": frozenset({"platform:read", "platform:write", "platform:manage"}),
    "operator": frozenset({"platform:read"}),
    "viewer": frozenset({"platform:read"}),
}


def grants(held: Iterable[str], needed: str) -> bool:
    """True when `needed` (one permission, wildcards allowed) lies within the set `held`."""
    held = frozenset(held)
    resource, _, action = needed.partition(":")
    return needed in held or (resource != "platform" and f"*:{action}" in held)


def restrict(held: Iterable[str], scopes: Iterable[str]) -> frozenset[str]:
    """What remains of `held` when a key or token is limited to `scopes`."""
    held, scopes = frozenset(held), frozenset(scopes)
    return frozenset(s for s in scopes if grants(held, s)) | frozenset(p for p in held if grants(scopes, p))
