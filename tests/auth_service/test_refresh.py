"""Sessions: rotation of refresh tokens, reuse, expiry, sign-out."""

import asyncio
from uuid import uuid4

import jwt

from auth_service.sessions.refresh_tokens import RefreshTokens
from tests.auth_service.client import FakeClock, identity_of


def sid(data):
    return str(identity_of(data["accessToken"]).session)


async def signed_in(auth):
    await auth.register()
    return await auth.login()


async def test_refresh_answers_both_tokens_of_the_same_session(auth):
    first = await signed_in(auth)
    second = (await auth.refresh(first["refreshToken"])).data
    assert second.keys() == {"accessToken", "refreshToken", "expiresIn", "tokenType"}
    assert second["refreshToken"] != first["refreshToken"]
    assert sid(second) == sid(first)


async def test_access_token_is_no_refresh_token(auth):
    data = await signed_in(auth)
    answer = await auth.refresh(data["accessToken"])
    assert (answer.status, answer.error) == (401, "Unauthorized")


async def test_parallel_refreshes_of_one_token_make_one_generation(auth, sql):
    first = await signed_in(auth)
    answers = await asyncio.gather(*(auth.refresh(first["refreshToken"]) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.data["refreshToken"] for answer in answers}) == 1
    assert await sql.fetchval("SELECT generation FROM auth.sessions") == 2
    for answer in answers:
        assert sid(answer.data) == sid(first)
    assert (await auth.refresh(answers[0].data["refreshToken"])).status == 200


async def test_lost_answer_is_given_again(auth):
    first = await signed_in(auth)
    lost = (await auth.refresh(first["refreshToken"])).data
    again = (await auth.refresh(first["refreshToken"])).data
    assert again["refreshToken"] == lost["refreshToken"]


async def test_reuse_after_the_successor_was_used_ends_the_session(auth):
    stolen = await signed_in(auth)
    second = (await auth.refresh(stolen["refreshToken"])).data
    third = (await auth.refresh(second["refreshToken"])).data
    assert (await auth.refresh(stolen["refreshToken"])).status == 401
    assert (await auth.refresh(third["refreshToken"])).status == 401
    (item,) = (await auth.revocations())["items"]
    assert (item["kind"], item["subject"]) == ("session", sid(stolen))


async def test_thief_and_owner_alternating_never_hold_two_lives(auth, sql):
    """Each uses what it got last. They share one line of tokens until one falls behind; then both are out."""
    owner = thief = (await signed_in(auth))["refreshToken"]
    for _ in range(3):
        thief = (await auth.refresh(thief)).data["refreshToken"]
        owner = (await auth.refresh(owner)).data["refreshToken"]
        assert owner == thief
    ahead = (await auth.refresh(thief)).data["refreshToken"]
    ahead = (await auth.refresh(ahead)).data["refreshToken"]
    assert (await auth.refresh(owner)).status == 401
    assert (await auth.refresh(ahead)).status == 401
    assert await sql.fetchval("SELECT reason FROM auth.sessions") == "refresh_reused"


async def test_other_sessions_survive_a_reuse(auth):
    first = await signed_in(auth)
    other = await auth.login()
    token = first["refreshToken"]
    for _ in range(2):
        token = (await auth.refresh(token)).data["refreshToken"]
    assert (await auth.refresh(first["refreshToken"])).status == 401
    assert (await auth.refresh(other["refreshToken"])).status == 200


async def test_sessions_outlive_a_restart(start_auth):
    first = await signed_in(await start_auth())
    after = await start_auth()
    second = (await after.refresh(first["refreshToken"])).data
    assert second["refreshToken"] == (await after.refresh(first["refreshToken"])).data["refreshToken"]
    assert (
        jwt.get_unverified_header(second["accessToken"])["kid"]
        == jwt.get_unverified_header(first["accessToken"])["kid"]
    )


async def test_unused_token_expires(start_auth):
    clock = FakeClock()
    auth = await start_auth(clock=clock)
    token = (await signed_in(auth))["refreshToken"]
    clock.advance(days=7, seconds=-1)
    token = (await auth.refresh(token)).data["refreshToken"]
    clock.advance(days=7)
    assert (await auth.refresh(token)).status == 401


async def test_idle_time_follows_the_setting(start_auth):
    clock = FakeClock()
    auth = await start_auth(clock=clock, REFRESH_TOKEN_EXPIRE_DAYS="1")
    token = (await signed_in(auth))["refreshToken"]
    clock.advance(days=1)
    assert (await auth.refresh(token)).status == 401


async def test_session_ends_after_thirty_days_however_busy(start_auth):
    clock = FakeClock()
    auth = await start_auth(clock=clock)
    token = (await signed_in(auth))["refreshToken"]
    for _ in range(5):
        clock.advance(days=5, hours=23)
        token = (await auth.refresh(token)).data["refreshToken"]
    clock.advance(hours=6)
    assert (await auth.refresh(token)).status == 401


async def test_disabled_user_cannot_refresh(auth, sql):
    data = await signed_in(auth)
    await sql.execute("UPDATE auth.users SET is_active = false")
    assert (await auth.refresh(data["refreshToken"])).status == 401


async def test_refresh_brings_a_new_role_tier_and_version(auth, sql):
    data = await signed_in(auth)
    await sql.execute("UPDATE auth.memberships SET role = 'viewer'")
    await sql.execute("UPDATE auth.organizations SET tier = 'pro'")
    await sql.execute("UPDATE auth.users SET version = 2")
    token = (await auth.refresh(data["refreshToken"])).data["accessToken"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["role"], claims["tier"], claims["ver"]) == ("viewer", "pro", 2)


async def test_member_who_left_the_organization_cannot_refresh(auth, sql):
    data = await signed_in(auth)
    await sql.execute("DELETE FROM auth.memberships")
    assert (await auth.refresh(data["refreshToken"])).status == 401


async def test_logout_ends_the_session_of_the_access_token(auth):
    data = await signed_in(auth)
    answer = await auth.call("POST", "/api/v1/auth/logout", who=data["accessToken"])
    assert (answer.status, answer.body) == (204, {})
    assert (await auth.refresh(data["refreshToken"])).status == 401
    (item,) = (await auth.revocations())["items"]
    assert (item["kind"], item["subject"]) == ("session", sid(data))


async def test_logout_ends_the_session_of_the_refresh_token(auth):
    data = await signed_in(auth)
    answer = await auth.call("POST", "/api/v1/auth/logout", {"refreshToken": data["refreshToken"]})
    assert answer.status == 204
    assert (await auth.refresh(data["refreshToken"])).status == 401


async def test_logout_of_two_sessions_at_once_ends_both(auth):
    one = await signed_in(auth)
    two = await auth.login()
    await auth.call("POST", "/api/v1/auth/logout", {"refreshToken": two["refreshToken"]}, who=one["accessToken"])
    assert {item["subject"] for item in (await auth.revocations())["items"]} == {sid(one), sid(two)}


async def test_logout_of_nothing_is_no_error(auth):
    for body in (None, {}, {"refreshToken": None}, {"refreshToken": "rt_nonsense"}):
        assert (await auth.call("POST", "/api/v1/auth/logout", body)).status == 204


async def test_second_logout_writes_no_second_revocation(auth):
    data = await signed_in(auth)
    for _ in range(2):
        await auth.call("POST", "/api/v1/auth/logout", who=data["accessToken"])
    assert len((await auth.revocations())["items"]) == 1


def test_refresh_token_round_trip():
    tokens, family = RefreshTokens("a secret"), uuid4()
    assert tokens.read(tokens.make(family, 7)) == (family, 7)
    assert tokens.make(family, 7) == tokens.make(family, 7)


def test_forged_or_misspelt_refresh_token_is_none_of_ours():
    tokens, family = RefreshTokens("a secret"), uuid4()
    good = tokens.make(family, 7)
    flipped = [good[:n] + ("A" if good[n] != "A" else "B") + good[n + 1 :] for n in range(len(good))]
    others = [
        "",
        "rt_",
        good[3:],
        good + "=",
        good + "A",
        good + "\n",
        " " + good,
        "é" * 78,
        RefreshTokens("b").make(family, 7),
    ]
    assert [text for text in [*flipped, *others] if tokens.read(text) is not None] == []
