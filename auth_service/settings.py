"""What the auth service reads from its environment."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field

from common.settings import SECRET_LENGTH_MIN, Settings, weakness


class AuthSettings(Settings):
    """AUTH_HOST, AUTH_PORT … as in contracts.md; `faults` says what is required."""

    auth_host: str = "127.0.0.1"
    auth_port: int = Field(8081, ge=0, le=65535)
    auth_workers: int = Field(1, ge=1, le=256)
    auth_service_key: str = ""

    database_url: str = Field("", validation_alias=AliasChoices("AUTH_DATABASE_URL", "DATABASE_URL"))
    database_pool_min: int = Field(0, ge=0, le=10_000)
    database_pool_max: int = Field(50, ge=1, le=10_000)
    database_timeout: float = Field(30, gt=0, le=30)
    database_pooler: Literal["none", "session", "transaction"] = "none"
    redis_url: str = ""

    # Protects what is stored: signing keys, refresh tokens. Access tokens are signed with keys of their own.
    secret_key: str = Field("", validation_alias=AliasChoices("SECRET_KEY", "JWT_SECRET"))
    key_pepper: str = ""

    access_token_expire_minutes: float = Field(30, gt=0, le=24 * 60)
    refresh_token_expire_days: float = Field(7, gt=0, le=30)
    jwt_issuer: str = Field("gatehouse", min_length=1)
    jwt_audience: str = Field("gatehouse-api", min_length=1)

    def faults(self) -> list[str]:
        return [*self._urls(), *self._secrets(), *self._pool()]

    def _urls(self) -> list[str]:
        # A value may hold a password: say what is expected, never what was given.
        expected = {
            "DATABASE_URL": (self.database_url, ("postgresql", "postgres")),
            "REDIS_URL": (self.redis_url, ("redis", "rediss", "unix")),
        }
        return [
            f"{name}: must be set to a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            for name, (url, schemes) in expected.items()
            if _scheme(url) not in schemes
        ]

    def _secrets(self) -> list[str]:
        given = {
            "SECRET_KEY": self.secret_key,
            "AUTH_SERVICE_KEY": self.auth_service_key,
            "KEY_PEPPER": self.key_pepper,
        }
        found = {name: self._fault(name, secret) for name, secret in given.items()}
        return [f"{name}: {fault}" for name, fault in found.items() if fault]

    def _fault(self, name: str, secret: str) -> str | None:
        if not secret:
            return "must be set"
        # Everything stored hangs on this one, in development too: such databases have a way of staying.
        if self.is_production or (name == "SECRET_KEY" and len(secret) < SECRET_LENGTH_MIN):
            return weakness(secret)
        return None

    def _pool(self) -> list[str]:
        if self.database_pool_min > self.database_pool_max:
            return ["DATABASE_POOL_MIN: must not be larger than DATABASE_POOL_MAX"]
        return []


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""
