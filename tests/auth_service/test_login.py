"""Sign-in: what is answered, what it costs, and how guessing is slowed down."""

import asyncio
import time

import argon2
import jwt

from auth_service.passwords import Hasher
from tests.auth_service.client import EMAIL, PASSWORD, CountingArgon, cheap_hasher

LOGIN = "/api/v1/auth/login"


async def shift_attempts(sql, seconds):
    """As if the attempts so far had been made that much earlier."""
    await sql.execute(
        """
        UPDATE auth.attempts SET last_at = last_at - $1 * interval '1 second',
               blocked_until = blocked_until - $1 * interval '1 second'
        """,
        float(seconds),
    )


async def test_login_answers_tokens_and_user(auth):
    user = await auth.register()
    data = await auth.login()
    assert data.keys() == {"accessToken", "refreshToken", "expiresIn", "tokenType", "user"}
    assert (data["tokenType"], data["expiresIn"]) == ("Bearer", 1800)
    assert data["user"] == {
        "id": user["id"],
        "email": EMAIL,
        "role": "admin",
        "organizationId": user["organizationId"],
    }


async def test_access_token_carries_exactly_the_claims(auth):
    user = await auth.register()
    token = (await auth.login())["accessToken"]
    jwks = await auth.call("GET", "/.well-known/jwks.json")
    key = jwt.PyJWK(jwks.body["keys"][0])
    claims = jwt.decode(token, key, algorithms=["EdDSA"], audience="gatehouse-api", issuer="gatehouse")
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "EdDSA", "typ": "at+jwt", "kid": jwks.body["keys"][0]["kid"]}
    assert claims.keys() == {"iss", "aud", "sub", "sid", "jti", "org", "role", "tier", "ver", "iat", "exp"}
    assert (claims["sub"], claims["org"]) == (user["id"], user["organizationId"])
    assert (claims["role"], claims["tier"], claims["ver"]) == ("admin", "free", 1)
    assert claims["exp"] - claims["iat"] == 1800


async def test_lifetime_follows_the_setting(start_auth):
    auth = await start_auth(ACCESS_TOKEN_EXPIRE_MINUTES="5")
    await auth.register()
    data = await auth.login()
    claims = jwt.decode(data["accessToken"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == data["expiresIn"] == 300


async def test_address_is_found_in_any_spelling(auth):
    await auth.register("Ada@Example.com")
    assert (await auth.try_login(" aDA@example.COM")).status == 200


async def test_password_is_compared_in_normal_form(auth):
    composed, decomposed = "caf\u00e9 cr\u00e8me", "cafe\u0301 cre\u0300me"
    await auth.register(password=decomposed)
    assert (await auth.try_login(password=composed)).status == 200


async def test_unknown_wrong_and_disabled_look_alike_and_cost_one_hash(start_auth, sql):
    argon = CountingArgon()
    auth = await start_auth(hasher=cheap_hasher(argon))
    await auth.register()
    await auth.register("disabled@example.com")
    await auth.register("no.password@example.com")
    await sql.execute("UPDATE auth.users SET is_active = false WHERE email_normalized = 'disabled@example.com'")
    await sql.execute("UPDATE auth.users SET password_hash = NULL WHERE email_normalized = 'no.password@example.com'")
    seen = set()
    cases = [
        ("unknown@example.com", PASSWORD),
        (EMAIL, "wrong password"),
        ("disabled@example.com", PASSWORD),
        ("no.password@example.com", PASSWORD),
        ("not an address", PASSWORD),
    ]
    for number, (email, password) in enumerate(cases):
        argon.calls = 0
        answer = await auth.try_login(email, password, address=f"198.51.100.{number}")
        assert argon.calls == 1, email
        body = {name: value for name, value in answer.body.items() if name not in ("timestamp", "requestId")}
        headers = {k: v for k, v in answer.headers.items() if k not in ("Date", "X-Request-ID", "Content-Length")}
        seen.add((answer.status, str(body), str(headers)))
    assert len(seen) == 1
    assert seen.pop()[0] == 401


async def test_right_password_costs_one_hash(start_auth):
    argon = CountingArgon()
    auth = await start_auth(hasher=cheap_hasher(argon))
    await auth.register()
    assert argon.calls == 1
    await auth.login()
    assert argon.calls == 2


async def test_hash_is_renewed_when_parameters_change(start_auth, sql):
    old = await start_auth()
    await old.register()
    before = await sql.fetchval("SELECT password_hash FROM auth.users")
    new = await start_auth(hasher=cheap_hasher(argon2.PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)))
    await new.login()
    after = await sql.fetchval("SELECT password_hash FROM auth.users")
    assert ("m=8,t=1" in before, "m=16,t=2" in after) == (True, True)
    await new.login()
    assert await sql.fetchval("SELECT password_hash FROM auth.users") == after


async def test_login_succeeds_when_the_hash_cannot_be_renewed(start_auth, sql):
    await (await start_auth()).register()

    class Failing(argon2.PasswordHasher):
        def hash(self, password, **more):
            raise argon2.exceptions.HashingError("no memory")

    auth = await start_auth(hasher=cheap_hasher(Failing(time_cost=2, memory_cost=16, parallelism=1)))
    assert (await auth.try_login()).status == 200


async def test_logins_are_recorded_with_address_and_agent(auth, sql):
    await auth.register()
    await auth.try_login(headers={"User-Agent": "curl/8"})
    await auth.try_login(password="wrong", headers={"User-Agent": "x" * 1000})
    await auth.try_login(
        "unknown@example.com", headers={"User-Agent": "\udcff".encode(errors="surrogateescape").decode("latin-1")}
    )
    rows = await sql.fetch("SELECT result, address, length(agent) AS agent, user_id FROM auth.login_events ORDER BY at")
    assert [(row["result"], row["agent"], row["user_id"] is None) for row in rows] == [
        ("succeeded", 6, False),
        ("failed", 256, False),
        ("failed", 1, True),
    ]


async def test_waits_grow_after_the_fifth_failure(auth, sql):
    await auth.register()
    for _ in range(5):
        assert (await auth.try_login(password="wrong")).status == 401
    for wait in (1, 2, 4, 8):
        throttled = await auth.try_login()
        assert (throttled.status, throttled.error) == (429, "TooManyRequests")
        assert int(throttled.headers["Retry-After"]) == wait
        await shift_attempts(sql, wait)
        assert (await auth.try_login(password="wrong")).status == 401


async def test_wait_never_exceeds_fifteen_minutes(auth, sql):
    await auth.try_login()
    await sql.execute("UPDATE auth.attempts SET failures = 100000")
    await auth.try_login()
    throttled = await auth.try_login()
    assert throttled.headers["Retry-After"] == "900"


async def test_owner_at_another_address_gets_in_meanwhile(auth):
    await auth.register()
    for _ in range(6):
        await auth.try_login(password="wrong", address="198.51.100.66")
    assert (await auth.try_login(address="198.51.100.66")).status == 429
    assert (await auth.try_login()).status == 200


async def test_one_address_cannot_try_many_accounts(auth):
    for number in range(5):
        assert (await auth.try_login(f"user{number}@example.com")).status == 401
    assert (await auth.try_login("another@example.com")).status == 429


async def test_ipv6_neighbours_count_as_one(auth):
    for number in range(5):
        assert (await auth.try_login(address=f"2001:db8:1:2::{number}")).status == 401
    assert (await auth.try_login(address="2001:db8:1:2:ffff::1")).status == 429
    assert (await auth.try_login(address="2001:db8:1:3::1")).status == 401


async def test_success_is_refunded(auth, sql):
    await auth.register()
    for _ in range(12):
        await auth.login()
    assert await sql.fetchval("SELECT max(failures) FROM auth.attempts") == 0


async def test_success_forgets_the_failures_of_the_pair_but_not_of_the_address(auth, sql):
    await auth.register()
    for _ in range(4):
        await auth.try_login(password="wrong")
    await auth.login()
    counts = {
        row["kind"]: row["failures"]
        for row in await sql.fetch("SELECT chr(get_byte(key, 0)) AS kind, failures FROM auth.attempts")
    }
    assert counts == {"a": 4}


async def test_twelve_hours_forget_all_failures(auth, sql):
    await auth.register()
    for _ in range(5):
        await auth.try_login(password="wrong")
    await shift_attempts(sql, 12 * 3600 + 1)
    for _ in range(5):
        assert (await auth.try_login(password="wrong")).status == 401


async def test_refused_attempt_counts_nowhere(auth, sql):
    """All or nothing: while the address waits, its pairs are not counted up."""
    for number in range(5):
        await auth.try_login(f"user{number}@example.com")
    await auth.try_login("victim@example.com")
    assert await sql.fetchval("SELECT count(*) FROM auth.attempts") == 6
    assert await sql.fetchval("SELECT max(failures) FROM auth.attempts") == 5


async def test_parallel_guesses_never_exceed_the_budget(start_auth):
    argon = CountingArgon()
    auth = await start_auth(hasher=cheap_hasher(argon))
    await auth.register()
    argon.calls, started = 0, time.monotonic()
    answers = await asyncio.gather(*(auth.try_login(password=f"guess {n}") for n in range(200)))
    seconds = time.monotonic() - started
    tried = sum(answer.status == 401 for answer in answers)
    assert {answer.status for answer in answers} == {401, 429}
    assert argon.calls == tried
    # Five at once; then one after each wait of 1, 2, 4 … seconds that the burst may itself have lasted.
    assert 5 <= tried <= 5 + (seconds + 1).__trunc__().bit_length()


async def test_full_queue_sheds_before_any_query(start_auth, sql):
    hasher = cheap_hasher(threads=1, queue_max=0)
    auth = await start_auth(hasher=hasher)
    with hasher.admit():
        answer = await auth.try_login()
        assert (answer.status, answer.error) == (503, "ServiceUnavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        body = {"email": EMAIL, "password": PASSWORD}
        assert (await auth.call("POST", "/api/v1/auth/register", body)).status == 503
    assert await sql.fetchval("SELECT count(*) FROM auth.attempts") == 0
    assert (await auth.try_login()).status == 401


async def test_login_racing_a_password_change_opens_no_session(start_auth, sql):
    """The old password is verified, then changed before the session is opened."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(Hasher):
        def matches(self, encoded, password):
            result = super().matches(encoded, password)
            loop.call_soon_threadsafe(reached.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)
            return result

    fast, slow = await start_auth(), await start_auth(hasher=Slow(CountingArgon(), threads=1))
    token = await fast.signed_in()
    racing = asyncio.create_task(slow.try_login())
    await asyncio.wait_for(reached.wait(), 10)
    body = {"currentPassword": PASSWORD, "newPassword": "an entirely new password"}
    assert (await fast.call("PUT", "/api/v1/me/password", body, who=token)).status == 204
    go_on.set()
    assert (await racing).status == 401
    assert await sql.fetchval("SELECT count(*) FROM auth.sessions WHERE revoked_at IS NULL") == 1


async def test_any_password_is_an_attempt(auth):
    for password in ("short", "x" * 1024):
        assert (await auth.try_login(password=password)).status == 401


async def test_login_without_the_service_key_is_refused(auth):
    body = {"email": EMAIL, "password": PASSWORD}
    for key in ("", "ApiKey wrong", "Bearer x"):
        answer = await auth.call("POST", LOGIN, body, headers={"Authorization": key})
        assert (answer.status, answer.error) == (401, "Unauthorized")
