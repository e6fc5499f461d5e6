"""The first admin."""

import asyncio

from auth_service.bootstrap import ensure_admin
from auth_service.passwords import Hasher, standard
from common.permissions import SYSTEM_ORGANIZATION
from tests.auth_service.client import identity_of

PEPPER = "the pepper of the tests"


async def test_first_admin_signs_in_and_holds_the_platform(start_auth, database_url):
    admin = await ensure_admin(database_url, pepper=PEPPER, email="admin@gatehouse.example")
    auth = await start_auth(hasher=Hasher(standard(), threads=1))
    identity = identity_of((await auth.login(admin.email, admin.password))["accessToken"])
    assert (identity.org, identity.role) == (SYSTEM_ORGANIZATION, "admin")
    assert identity.allows("platform:manage")
    resolved = (await auth.resolve(admin.api_key)).data
    assert (resolved["user"], resolved["role"]) == (str(identity.user), "admin")
    assert "platform:manage" in resolved["permissions"]
    names = (await auth.call("GET", "/api/v1/api-keys", who=identity)).data["items"]
    assert [key["name"] for key in names] == ["first key"]


async def test_admin_is_made_once_however_many_try(database_url, sql):
    made = await asyncio.gather(*(ensure_admin(database_url, pepper=PEPPER, email="a@example.com") for _ in range(3)))
    assert sum(admin is not None for admin in made) == 1
    assert await sql.fetchval("SELECT count(*) FROM auth.users") == 1


async def test_nothing_is_made_once_there_are_users(auth, database_url):
    await auth.register()
    assert await ensure_admin(database_url, pepper=PEPPER, email="a@example.com") is None
