"""Signing keys: one first key however many start at once, private halves encrypted."""

import asyncio

import jwt
import pytest

from auth_service.derivation import derive
from auth_service.signing.keyring import Keyring
from auth_service.signing.keys import Vault, thumbprint
from common.errors import ServiceUnavailable
from common.postgres import Database, PoolOptions
from tests.auth_service.client import EMAIL, PASSWORD

SECRET = "a secret of the tests, long enough to be one"


async def test_jwks_is_bare_and_cacheable(auth):
    answer = await auth.call("GET", "/.well-known/jwks.json")
    (key,) = answer.body["keys"]
    assert key.keys() == {"kty", "crv", "x", "kid", "alg", "use"}
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert (await auth.call("HEAD", "/.well-known/jwks.json")).status == 200


async def test_two_workers_at_once_make_one_key(start_auth, sql):
    clients = await asyncio.gather(*(start_auth() for _ in range(4)))
    answers = await asyncio.gather(*(client.call("GET", "/.well-known/jwks.json") for client in clients))
    assert len({answer.body["keys"][0]["kid"] for answer in answers}) == 1
    assert await sql.fetchval("SELECT count(*) FROM auth.signing_keys") == 1


async def test_private_key_is_stored_encrypted(auth, sql):
    await auth.signed_in()
    row = await sql.fetchrow("SELECT * FROM auth.signing_keys")
    key = Vault(SECRET).open(row["kid"], row["encrypted_private"])
    assert key.private.public_key().public_bytes_raw() == row["public_key"]
    assert key.private.private_bytes_raw() not in row["encrypted_private"]


async def test_other_secret_cannot_open_the_keys_and_says_so(start_auth):
    await (await start_auth()).register()
    other = await start_auth(SECRET_KEY="another secret of the tests, as long")
    answer = await other.try_login()
    assert (answer.status, answer.error) == (503, "ServiceUnavailable")
    assert "SECRET_KEY" not in str(answer.body)
    with pytest.raises(ServiceUnavailable) as raised:
        Vault("one").open("kid", b"0" * 60)
    assert "SECRET_KEY" in raised.value.detail


async def test_retired_key_is_still_published_and_a_removed_one_is_not(environ, auth, sql):
    token = await auth.signed_in()
    database = Database(PoolOptions(environ["DATABASE_URL"], size_max=1))
    await database.open()
    keyring = Keyring(database, SECRET)
    old = (await keyring.signing()).kid
    await sql.execute("UPDATE auth.signing_keys SET state = 'retired'")
    await keyring.load()
    assert (await keyring.signing()).kid != old
    assert (await keyring.public())[0].kid == old
    assert jwt.get_unverified_header(token)["kid"] == old
    await sql.execute("UPDATE auth.signing_keys SET state = 'removed' WHERE kid = $1", old)
    await keyring.load()
    assert old not in [key.kid for key in await keyring.public()]
    await database.close()


def test_thumbprint_follows_the_standard():
    """RFC 8037, appendix A.3."""
    raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert thumbprint(raw) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_derived_keys_differ_by_purpose_and_secret():
    keys = {derive(secret, purpose) for secret in (SECRET, PASSWORD, EMAIL) for purpose in ("a", "b")}
    assert len(keys) == 6
    assert {len(key) for key in keys} == {32}
