"""Roles as permission sets, and how a permission is matched.

A permission is `resource:action`, actions `read`, `write`, `manage`. A set may hold `*:action`, which
covers every resource but `platform`: a new module needs no line here, and no organization's own role
ever reaches the platform.
"""

import re
from collections.abc import Iterable
from uuid import UUID

PERMISSION = re.compile(r"(\*|[a-z][a-z0-9_-]{0,62}):(read|write|manage)")

# Everyone may look after their own account and API keys; what differs is the organization's data.
_SELF = frozenset({"account:read", "account:write", "keys:read", "keys:write"})

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


# The organization of the first admin. Its id is fixed, so that an edge knows it from a token without asking.
SYSTEM_ORGANIZATION = UUID("00000000-0000-7000-8000-000000000001")


def role_permissions(role: str, org: UUID) -> frozenset[str]:
    """What `role` may do in `org`; nothing for an unknown role."""
    held = ROLES.get(role, frozenset())
    return held | SYSTEM_ROLES.get(role, frozenset()) if org == SYSTEM_ORGANIZATION else held
