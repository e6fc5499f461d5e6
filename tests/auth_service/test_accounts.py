"""Registration and the caller's own account."""

import asyncio
from uuid import UUID, uuid4

from common.identity import Identity
from tests.auth_service.client import EMAIL, PASSWORD, identity_of

NEW = "an entirely new password"


async def test_registration_makes_a_user_who_is_admin_of_a_personal_organization(auth, sql):
    user = await auth.register(username="ada_99", full_name="Ada Lovelace")
    assert (user["email"], user["username"], user["full_name"], user["role"]) == (
        EMAIL,
        "ada_99",
        "Ada Lovelace",
        "admin",
    )
    assert UUID(user["id"]).version == 7
    assert user["isVerified"] is False
    row = await sql.fetchrow("SELECT kind, tier FROM auth.organizations WHERE id = $1", UUID(user["organizationId"]))
    assert (row["kind"], row["tier"]) == ("personal", "free")


async def test_password_is_stored_as_argon2id_only(auth, sql):
    await auth.register()
    stored = await sql.fetchval("SELECT password_hash FROM auth.users")
    assert stored.startswith("$argon2id$")
    assert PASSWORD not in str(await sql.fetch("SELECT u::text FROM auth.users u"))


async def test_known_address_is_refused_in_any_spelling(auth):
    await auth.register()
    for other in ("ADA@example.com", " ada@EXAMPLE.com ", "ａda@example.com"):
        answer = await auth.call("POST", "/api/v1/auth/register", {"email": other, "password": PASSWORD})
        assert (answer.status, answer.error) == (409, "Conflict")


async def test_known_username_is_refused_in_any_case(auth):
    await auth.register(username="Ada")
    body = {"email": "b@example.com", "password": PASSWORD, "username": "aDA"}
    answer = await auth.call("POST", "/api/v1/auth/register", body)
    assert (answer.status, answer.body["message"]) == (409, "Username is already taken")


async def test_parallel_registrations_of_one_address_make_one_user(auth, sql):
    body = {"email": EMAIL, "password": PASSWORD}
    answers = await asyncio.gather(*(auth.call("POST", "/api/v1/auth/register", body) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 19
    assert await sql.fetchval("SELECT count(*) FROM auth.users") == 1
    assert await sql.fetchval("SELECT count(*) FROM auth.organizations") == 1


async def test_registration_names_every_fault_at_once(auth):
    body = {"email": "nobody", "password": "short", "username": "a b", "role": "admin"}
    answer = await auth.call("POST", "/api/v1/auth/register", body)
    assert (answer.status, answer.error) == (422, "ValidationError")
    assert answer.body["errors"] == {
        "email": ["Invalid email format"],
        "password": ["Password must be at least 8 characters"],
        "username": ["Username has an invalid format"],
        "role": ["Unknown field"],
    }


async def test_guessable_password_is_refused(auth):
    faults = {
        "Password123": "Password is too common",
        "ada.lovelace1815": "Password must not be your name or address",
        "Ada Lovelace!": "Password must not be your name or address",
        "x" * 257: "Password must be at most 256 characters",
    }
    for password, fault in faults.items():
        body = {"email": "ada.lovelace@example.com", "password": password, "full_name": "Ada Lovelace"}
        answer = await auth.call("POST", "/api/v1/auth/register", body)
        assert answer.body["errors"] == {"password": [fault]}


async def test_me_shows_the_caller(auth):
    token = await auth.signed_in()
    user = (await auth.call("GET", "/api/v1/me", who=token)).data["user"]
    assert user["email"] == EMAIL
    assert {"id", "email", "username", "full_name", "organizationId", "role"} <= user.keys()


ME = [("GET", "/api/v1/me"), ("PATCH", "/api/v1/me"), ("PUT", "/api/v1/me/password"), ("DELETE", "/api/v1/me")]


async def test_own_account_needs_identity_and_permission(auth):
    whole = identity_of(await auth.signed_in())
    narrow = Identity(user=whole.user, org=whole.org, role="admin", permissions=frozenset({"expenses:read"}))
    for method, path in ME:
        assert (await auth.call(method, path)).status == 401
        answer = await auth.call(method, path, who=narrow)
        assert (answer.status, answer.error) == (403, "Forbidden")


async def test_key_of_an_organization_alone_has_no_account(auth):
    nobody = Identity(user=None, org=uuid4(), role="admin", key=uuid4(), permissions=frozenset({"*:read", "*:write"}))
    bodies = {"PATCH": {}, "PUT": {"currentPassword": PASSWORD, "newPassword": NEW}}
    for method, path in ME:
        assert (await auth.call(method, path, bodies.get(method), who=nobody)).status == 403


async def test_profile_changes_what_is_given_and_null_clears(auth):
    await auth.register(username="ada", full_name="Ada")
    token = (await auth.login())["accessToken"]
    changed = (await auth.call("PATCH", "/api/v1/me", {"full_name": "Ada King"}, who=token)).data["user"]
    assert (changed["username"], changed["full_name"]) == ("ada", "Ada King")
    cleared = (await auth.call("PATCH", "/api/v1/me", {"full_name": None}, who=token)).data["user"]
    assert (cleared["username"], cleared["full_name"]) == ("ada", None)


async def test_profile_refuses_a_taken_name_and_other_fields(auth):
    await auth.register("b@example.com", username="taken")
    token = await auth.signed_in()
    assert (await auth.call("PATCH", "/api/v1/me", {"username": "Taken"}, who=token)).status == 409
    answer = await auth.call("PATCH", "/api/v1/me", {"email": "c@example.com", "role": "admin"}, who=token)
    assert answer.body["errors"] == {"email": ["Unknown field"], "role": ["Unknown field"]}


async def change(auth, who, current, new):
    return await auth.call("PUT", "/api/v1/me/password", {"currentPassword": current, "newPassword": new}, who=who)


async def test_password_change_ends_other_sessions_only(auth):
    await auth.register()
    mine, other = await auth.login(), await auth.login()
    assert (await change(auth, mine["accessToken"], PASSWORD, NEW)).status == 204
    assert (await auth.refresh(other["refreshToken"])).status == 401
    assert (await auth.refresh(mine["refreshToken"])).status == 200
    assert (await auth.try_login()).status == 401
    assert (await auth.try_login(password=NEW)).status == 200
    ended = [(item["kind"], UUID(item["subject"])) for item in (await auth.revocations())["items"]]
    assert ended == [("session", identity_of(other["accessToken"]).session)]


async def test_wrong_current_password_is_refused_and_counts_as_an_attempt(auth):
    token = await auth.signed_in()
    for _ in range(5):
        answer = await change(auth, token, "not it", NEW)
        assert (answer.status, answer.body["message"]) == (401, "Current password is wrong")
    throttled = await auth.try_login()
    assert (throttled.status, throttled.headers["Retry-After"]) == (429, "1")


async def test_new_password_must_not_be_guessable(auth):
    token = await auth.signed_in()
    short = await change(auth, token, PASSWORD, "short")
    assert short.body["errors"] == {"newPassword": ["New password must be at least 8 characters"]}
    personal = await change(auth, token, PASSWORD, EMAIL)
    assert personal.body["errors"] == {"newPassword": ["Password must not be your name or address"]}


async def test_parallel_password_changes_leave_one_winner(auth):
    token = await auth.signed_in()
    answers = await asyncio.gather(*(change(auth, token, PASSWORD, f"new password number {n}") for n in range(4)))
    assert [answer.status for answer in answers].count(204) == 1


async def test_deleted_account_leaves_nothing_but_its_revocation(auth, sql):
    await auth.register("b@example.com")
    user = await auth.register()
    tokens = await auth.login()
    key = await auth.create_key(tokens["accessToken"])
    assert (await auth.call("DELETE", "/api/v1/me", who=tokens["accessToken"])).status == 204

    for table in ("users", "organizations", "memberships"):
        assert await sql.fetchval(f"SELECT count(*) FROM auth.{table}") == 1, table
    for table in ("sessions", "api_keys", "login_events"):
        assert await sql.fetchval(f"SELECT count(*) FROM auth.{table}") == 0, table
    (item,) = (await auth.revocations())["items"]
    assert (item["kind"], item["subject"], item["before"]) == ("user", user["id"], None)

    assert (await auth.try_login()).status == 401
    assert (await auth.refresh(tokens["refreshToken"])).status == 401
    assert (await auth.resolve(key["key"])).status == 401
    for method, path in ME[:1] + ME[3:]:
        assert (await auth.call(method, path, who=tokens["accessToken"])).status == 401
