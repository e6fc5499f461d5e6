"""API keys: made, listed, resolved, revoked; and what each of them may not do."""

import asyncio
import string
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from common import api_keys
from common.identity import Identity
from common.permissions import SYSTEM_ORGANIZATION, role_permissions
from tests.auth_service.client import PASSWORD, FakeClock, identity_of, identity_of_key

KEYS = "/api/v1/api-keys"


def junk_like(key):
    """The right shape and length, the wrong check characters."""
    return key[:-1] + ("a" if key[-1] != "a" else "b")


async def test_key_is_shown_once_and_stored_hashed(auth, sql):
    token = await auth.signed_in()
    made = await auth.create_key(token, name=" CI ")
    assert made.keys() == {"id", "name", "key", "preview", "scopes", "createdAt", "expiresAt"}
    assert (made["name"], made["expiresAt"]) == ("CI", None)
    assert made["key"].startswith("sk_live_")
    assert made["preview"].startswith("…")
    assert made["key"].endswith(made["preview"][1:])
    assert made["key"] not in str(await sql.fetch("SELECT k::text FROM auth.api_keys k"))
    shown = (await auth.call("GET", f"{KEYS}/{made['id']}", who=token)).data
    assert made["key"] not in str(shown)
    assert shown["preview"] == made["preview"]


async def test_key_resolves_to_its_owner(auth):
    user = await auth.register()
    token = (await auth.login())["accessToken"]
    made = await auth.create_key(token)
    assert (await auth.resolve(made["key"])).data == {
        "user": user["id"],
        "org": user["organizationId"],
        "role": "admin",
        "tier": "free",
        "key": made["id"],
        "permissions": ["*:manage", "*:read", "*:write"],
        "expires_at": None,
        "limit": None,
    }


async def test_key_without_scopes_follows_its_owners_role(auth, sql):
    made = await auth.create_key(await auth.signed_in())
    assert made["scopes"] == sorted(role_permissions("admin", uuid4()))
    await sql.execute("UPDATE auth.memberships SET role = 'viewer'")
    resolved = (await auth.resolve(made["key"])).data
    assert resolved["permissions"] == sorted(role_permissions("viewer", uuid4()))


async def test_scope_that_the_owner_lost_is_lost_to_the_key(auth, sql):
    made = await auth.create_key(await auth.signed_in(), scopes=["expenses:write", "expenses:read"])
    assert (await auth.resolve(made["key"])).data["permissions"] == ["expenses:read", "expenses:write"]
    await sql.execute("UPDATE auth.memberships SET role = 'viewer'")
    assert (await auth.resolve(made["key"])).data["permissions"] == ["expenses:read"]


async def test_scope_beyond_the_creators_permissions_is_named(auth):
    token = await auth.signed_in()
    body = {"name": "k", "scopes": ["expenses:read", "platform:read"]}
    answer = await auth.call("POST", KEYS, body, who=token)
    assert answer.status == 422
    assert answer.body["errors"] == {"scopes": ["You do not hold platform:read yourself"]}


async def test_key_makes_no_key_and_ends_no_account(auth):
    """Its child would outlive its expiry and its revocation."""
    token = await auth.signed_in()
    made = await auth.create_key(token)
    who = identity_of_key((await auth.resolve(made["key"])).data)
    change = {"currentPassword": PASSWORD, "newPassword": "another horse battery"}
    for method, path, body in (
        ("POST", KEYS, {"name": "k"}),
        ("PUT", "/api/v1/me/password", change),
        ("DELETE", "/api/v1/me", None),
    ):
        answer = await auth.call(method, path, body, who=who)
        assert (answer.status, answer.error) == (403, "Forbidden"), path
    assert (await auth.call("GET", "/api/v1/me", who=who)).status == 200


async def test_name_is_one_visible_line(auth):
    token = await auth.signed_in()
    for name in ("a\nb", "a\r\nBcc: x@example.com", "a\u202eb", "a\u0007"):
        answer = await auth.call("POST", KEYS, {"name": name}, who=token)
        assert answer.body["errors"] == {"name": ["Must not contain control characters"]}


async def test_keys_and_the_end_of_their_owner_never_wait_for_each_other(auth):
    """Racing them, one by one user, showed a deadlock while the two locked user and organization in other orders."""
    for _ in range(8):
        email = f"{uuid4().hex}@example.com"
        token = await auth.signed_in(email)
        calls = [auth.call("POST", KEYS, {"name": "k"}, who=token) for _ in range(6)]
        answers = await asyncio.gather(*calls, auth.call("DELETE", "/api/v1/me", who=token))
        assert {answer.status for answer in answers[:-1]} <= {201, 401}
        assert answers[-1].status == 204


async def test_member_of_the_system_organization_may_scope_platform_permissions(auth, sql):
    token = await auth.signed_in()
    await sql.execute(
        "INSERT INTO auth.organizations (id, name, kind) VALUES ($1, 'Gatehouse', 'system')", SYSTEM_ORGANIZATION
    )
    user = identity_of(token).user
    await sql.execute(
        "INSERT INTO auth.memberships (org_id, user_id, role) VALUES ($1, $2, 'admin')", SYSTEM_ORGANIZATION, user
    )
    admin = Identity(user, SYSTEM_ORGANIZATION, "admin", permissions=role_permissions("admin", SYSTEM_ORGANIZATION))
    made = await auth.create_key(admin, scopes=["platform:read"])
    assert (await auth.resolve(made["key"])).data["permissions"] == ["platform:read"]


async def test_expired_key_is_refused(start_auth):
    clock = FakeClock()
    auth = await start_auth(clock=clock)
    expires_at = (clock.now + timedelta(hours=1)).replace(microsecond=0)
    made = await auth.create_key(await auth.signed_in(), expiresAt=expires_at.isoformat())
    assert (await auth.resolve(made["key"])).data["expires_at"] == int(expires_at.timestamp())
    clock.advance(hours=1)
    answer = await auth.resolve(made["key"])
    assert (answer.status, answer.error) == (401, "Unauthorized")


async def test_bad_expiry_is_refused(auth):
    token = await auth.signed_in()
    faults = [
        ("2001-01-01T00:00:00Z", "Expires at must be in the future"),
        ("2999-01-01T00:00:00", "Expires at must carry a time zone"),
        ("9999-12-31T23:59:59-23:00", "Expires at is too far away"),
        ("tomorrow", "Expires at must be a time (ISO 8601)"),
        (4102444800, "Expires at must be a time (ISO 8601)"),
        ("4102444800", "Expires at must be a time (ISO 8601)"),
    ]
    for given, fault in faults:
        answer = await auth.call("POST", KEYS, {"name": "k", "expiresAt": given}, who=token)
        assert answer.body["errors"] == {"expiresAt": [fault]}


async def test_every_fault_of_a_new_key_is_named(auth):
    token = await auth.signed_in()
    body = {"name": " ", "scopes": ["nonsense", "a:b"], "expiresAt": "x", "userId": str(uuid4())}
    answer = await auth.call("POST", KEYS, body, who=token)
    assert answer.body["errors"].keys() == {"name", "scopes.0", "scopes.1", "expiresAt", "userId"}


async def test_use_is_noted_at_most_once_a_minute(start_auth, sql):
    clock = FakeClock()
    auth = await start_auth(clock=clock)
    token = await auth.signed_in()
    made = await auth.create_key(token)

    async def last_used():
        return await sql.fetchval("SELECT last_used_at FROM auth.api_keys")

    assert await last_used() is None
    await auth.resolve(made["key"])
    first = await last_used()
    assert first == clock.now
    clock.advance(seconds=59)
    await auth.resolve(made["key"])
    assert await last_used() == first
    clock.advance(seconds=1)
    await auth.resolve(made["key"])
    assert await last_used() == clock.now
    shown = (await auth.call("GET", f"{KEYS}/{made['id']}", who=token)).data["lastUsedAt"]
    assert datetime.fromisoformat(shown) == clock.now.astimezone(UTC)


async def test_revoked_key_is_refused_and_announced(auth):
    token = await auth.signed_in()
    made = await auth.create_key(token)
    assert (await auth.call("DELETE", f"{KEYS}/{made['id']}", who=token)).status == 204
    assert (await auth.resolve(made["key"])).status == 401
    (item,) = (await auth.revocations())["items"]
    assert (item["kind"], item["subject"]) == ("key", made["id"])
    assert (await auth.call("GET", f"{KEYS}/{made['id']}", who=token)).status == 404
    assert (await auth.call("DELETE", f"{KEYS}/{made['id']}", who=token)).status == 404


async def test_key_of_a_disabled_user_or_of_one_who_left_is_refused(auth, sql):
    made = await auth.create_key(await auth.signed_in())
    await sql.execute("UPDATE auth.users SET is_active = false")
    assert (await auth.resolve(made["key"])).status == 401
    await sql.execute("UPDATE auth.users SET is_active = true")
    await sql.execute("DELETE FROM auth.memberships")
    assert (await auth.resolve(made["key"])).status == 401


async def test_limit_of_a_key_is_told_to_the_edge(auth, sql):
    made = await auth.create_key(await auth.signed_in())
    await sql.execute("UPDATE auth.api_keys SET limit_count = 10, limit_seconds = 60")
    assert (await auth.resolve(made["key"])).data["limit"] == {"count": 10, "seconds": 60}


async def test_list_is_a_page_of_own_keys_newest_first(auth):
    other = await auth.signed_in("b@example.com")
    await auth.create_key(other, name="not mine")
    token = await auth.signed_in()
    for number in range(3):
        await auth.create_key(token, name=f"key {number}")
    page = (await auth.call("GET", f"{KEYS}?per_page=2", who=token)).data
    assert (page["total"], page["page"], page["per_page"], page["total_pages"]) == (3, 1, 2, 2)
    assert [key["name"] for key in page["items"]] == ["key 2", "key 1"]
    assert all("key" not in key for key in page["items"])
    for query in ("per_page=0", "per_page=101", "page=0", "page=x", "nonsense=1"):
        assert (await auth.call("GET", f"{KEYS}?{query}", who=token)).status == 422, query


async def test_somebody_elses_key_does_not_exist(auth):
    made = await auth.create_key(await auth.signed_in())
    other = await auth.signed_in("b@example.com")
    for method in ("GET", "DELETE"):
        assert (await auth.call(method, f"{KEYS}/{made['id']}", who=other)).status == 404
    assert (await auth.resolve(made["key"])).status == 200


async def test_keys_need_identity_and_permission(auth):
    whole = identity_of(await auth.signed_in())
    narrow = Identity(whole.user, whole.org, "admin", permissions=frozenset({"account:read"}))
    orgs = Identity(None, whole.org, "admin", key=uuid4(), permissions=frozenset({"*:read", "*:write"}))
    for method, path in (("POST", KEYS), ("GET", KEYS), ("GET", f"{KEYS}/{uuid4()}"), ("DELETE", f"{KEYS}/{uuid4()}")):
        body = {"name": "k"} if method == "POST" else None
        assert (await auth.call(method, path, body)).status == 401
        assert (await auth.call(method, path, body, who=narrow)).status == 403
        assert (await auth.call(method, path, body, who=orgs)).status == 403


async def test_every_role_manages_its_own_keys_and_account(auth):
    whole = identity_of(await auth.signed_in())
    for role in ("admin", "operator", "user", "viewer"):
        who = Identity(whole.user, whole.org, role, permissions=role_permissions(role, whole.org))
        key = await auth.create_key(who, scopes=["account:read"])
        assert (await auth.call("DELETE", f"{KEYS}/{key['id']}", who=who)).status == 204
        assert (await auth.call("PATCH", "/api/v1/me", {"full_name": role}, who=who)).status == 200


async def test_junk_is_refused_without_the_database(start_auth):
    auth = await start_auth(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    good = api_keys.make()
    assert (await auth.resolve(good)).status == 503
    junk = [junk_like(good), good[:-1], good + "x", "sk_test_" + good[8:], "", "Bearer", "é" * 44, good.swapcase()]
    assert [(await auth.resolve(text)).status for text in junk] == [401] * len(junk)


async def test_another_pepper_opens_nothing(start_auth):
    made = await (await start_auth()).create_key(await (await start_auth()).signed_in())
    assert (await (await start_auth(KEY_PEPPER="another")).resolve(made["key"])).status == 401


def test_made_keys_are_well_formed_and_all_different():
    keys = {api_keys.make() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(api_keys.is_well_formed(key) for key in keys)
    letters = set(string.ascii_letters + string.digits)
    assert set("".join(key.removeprefix("sk_live_") for key in keys)) == letters


def test_one_wrong_character_is_always_found():
    key = api_keys.make()
    for place in range(len("sk_live_"), len(key)):
        other = "0" if key[place] != "0" else "1"
        assert not api_keys.is_well_formed(key[:place] + other + key[place + 1 :])


def test_preview_never_shows_the_prefix():
    assert not api_keys.preview(api_keys.make()).startswith("sk_live_")
