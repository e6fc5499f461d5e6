"""Roles are permission sets; the platform is out of every wildcard's reach."""

import pytest

from common.permissions import PERMISSION, ROLES, SYSTEM_ROLES, grants, restrict


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("admin", {"expenses:read", "expenses:write", "members:manage"}, {"platform:read", "platform:manage"}),
        ("operator", {"expenses:read", "account:write"}, {"expenses:write", "members:manage", "platform:read"}),
        ("user", {"expenses:read", "expenses:write"}, {"members:manage", "platform:write"}),
        ("viewer", {"expenses:read", "account:write"}, {"expenses:write", "platform:read"}),
    ],
)
def test_role_holds_what_it_should_and_no_more(role: str, may: set[str], may_not: set[str]) -> None:
    assert all(grants(ROLES[role], permission) for permission in may)
    assert not any(grants(ROLES[role], permission) for permission in may_not)


def test_platform_is_granted_by_name_only() -> None:
    assert not grants({"*:read", "*:write", "*:manage"}, "platform:read")
    assert grants(SYSTEM_ROLES["admin"], "platform:manage")
    assert not grants(SYSTEM_ROLES["operator"], "platform:write")


def test_actions_do_not_imply_one_another() -> None:
    assert not grants({"expenses:write"}, "expenses:read")
    assert not grants({"expenses:manage"}, "expenses:write")


@pytest.mark.parametrize(
    ("held", "scopes", "left"),
    [
        ({"*:read", "*:write"}, {"expenses:read"}, {"expenses:read"}),
        ({"expenses:read"}, {"*:read"}, {"expenses:read"}),
        ({"*:read"}, {"expenses:write"}, set()),
        ({"*:manage", "*:read"}, {"platform:manage"}, set()),
        ({"platform:read", "*:read"}, {"*:read"}, {"*:read"}),
    ],
)
def test_scopes_only_narrow(held: set[str], scopes: set[str], left: set[str]) -> None:
    assert restrict(held, scopes) == left


@pytest.mark.parametrize("text", ["expenses:read", "api-keys:manage", "*:read", "a:write"])
def test_permission_is_resource_and_action(text: str) -> None:
    assert PERMISSION.fullmatch(text)


@pytest.mark.parametrize("text", ["", "expenses", "expenses:delete", "*:*", "Expenses:read", "expenses:*", " a:read"])
def test_anything_else_is_no_permission(text: str) -> None:
    assert not PERMISSION.fullmatch(text)
