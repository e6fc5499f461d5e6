"""The auth service as the edge calls it: with its key, and with the caller's identity in headers."""

import json as stdlib_json  # writes integers of any size, as some clients do
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import argon2
import jwt
from aiohttp.test_utils import TestClient

from auth_service.passwords import Hasher
from common import json
from common.identity import Identity
from common.permissions import role_permissions

SERVICE_KEY = "service-key-of-the-tests-0123456789abcdef"
ADDRESS = "203.0.113.7"
EMAIL = "ada@example.com"
PASSWORD = "correct horse battery"
# Hashing is rarely the point, and the real parameters cost 20 ms each time.
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class CountingArgon(argon2.PasswordHasher):
    """Counts what is asked of it."""

    def __init__(self, **parameters: int) -> None:
        super().__init__(**({"time_cost": 1, "memory_cost": 8, "parallelism": 1} | parameters))
        self.calls = 0

    def hash(self, *args: Any, **kwargs: Any) -> str:
        self.calls += 1
        return super().hash(*args, **kwargs)

    def verify(self, *args: Any, **kwargs: Any) -> bool:
        self.calls += 1
        return super().verify(*args, **kwargs)


def cheap_hasher(argon: argon2.PasswordHasher = CHEAP, *, threads: int = 2, queue_max: int = 1000) -> Hasher:
    return Hasher(argon, threads=threads, queue_max=queue_max)


class FakeClock:
    """Stands still until told to move."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


def identity_of(access_token: str) -> Identity:
    """What the edge makes of a token, whose signature it has verified."""
    claims = jwt.decode(access_token, options={"verify_signature": False})
    org = UUID(claims["org"])
    return Identity(
        user=UUID(claims["sub"]),
        org=org,
        role=claims["role"],
        tier=claims["tier"],
        session=UUID(claims["sid"]),
        permissions=role_permissions(claims["role"], org),
    )


def identity_of_key(resolved: dict[str, Any]) -> Identity:
    """What the edge makes of a resolved API key."""
    return Identity(
        user=UUID(resolved["user"]),
        org=UUID(resolved["org"]),
        role=resolved["role"],
        tier=resolved["tier"],
        key=UUID(resolved["key"]),
        permissions=frozenset(resolved["permissions"]),
    )


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def data(self) -> Any:
        assert self.body["success"], self.body
        return self.body["data"]

    @property
    def error(self) -> str:
        return self.body["error"]


class AuthClient:
    """One service. `who` is an access token or an identity."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        who: str | Identity | None = None,
        address: str = ADDRESS,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        identity = identity_of(who) if isinstance(who, str) else who
        sent = {"Authorization": f"ApiKey {SERVICE_KEY}", "X-Real-IP": address}
        sent |= dict(identity.headers()) if identity else {}
        if body is not None or raw is not None:
            sent["Content-Type"] = "application/json"
            raw = stdlib_json.dumps(body).encode() if raw is None else raw
        async with self.http.request(method, path, data=raw, headers=sent | (headers or {})) as response:
            text = await response.read()
            return Answer(response.status, json.loads(text) if text else {}, dict(response.headers))

    async def register(self, email: str = EMAIL, password: str = PASSWORD, **more: str) -> Any:
        answer = await self.call("POST", "/api/v1/auth/register", {"email": email, "password": password, **more})
        assert answer.status == 201, answer.body
        return answer.data["user"]

    async def try_login(self, email: str = EMAIL, password: str = PASSWORD, **more: Any) -> Answer:
        return await self.call("POST", "/api/v1/auth/login", {"email": email, "password": password}, **more)

    async def login(self, email: str = EMAIL, password: str = PASSWORD, **more: Any) -> Any:
        answer = await self.try_login(email, password, **more)
        assert answer.status == 200, answer.body
        return answer.data

    async def signed_in(self, email: str = EMAIL) -> str:
        """A new user's access token."""
        await self.register(email)
        return (await self.login(email))["accessToken"]

    async def refresh(self, token: str) -> Answer:
        return await self.call("POST", "/api/v1/auth/refresh", {"refreshToken": token})

    async def create_key(self, who: str | Identity, **body: Any) -> Any:
        answer = await self.call("POST", "/api/v1/api-keys", {"name": "a key", **body}, who=who)
        assert answer.status == 201, answer.body
        return answer.data

    async def resolve(self, key: str) -> Answer:
        return await self.call("POST", "/internal/keys/resolve", {"key": key})

    async def revocations(self, after: int = 0) -> Any:
        return (await self.call("GET", f"/internal/revocations?after={after}")).data
