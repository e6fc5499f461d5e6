"""What the core service reads from its environment."""

from functools import cached_property
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field

from common.settings import CommaList, Settings, weakness
from core_service import modules


class CoreSettings(Settings):
    """CORE_HOST, CORE_PORT … as in contracts.md; `faults` says what is required."""

    core_host: str = "127.0.0.1"
    core_port: int = Field(8082, ge=0, le=65535)
    core_workers: int = Field(1, ge=1, le=256)
    core_service_key: str = ""

    database_url: str = Field("", validation_alias=AliasChoices("CORE_DATABASE_URL", "DATABASE_URL"))
    database_pool_min: int = Field(0, ge=0, le=10_000)
    database_pool_max: int = Field(50, ge=1, le=10_000)
    database_timeout: float = Field(30, gt=0, le=30)
    database_pooler: Literal["none", "session", "transaction"] = "none"
    redis_url: str = ""

    auth_url: str = ""
    auth_port: int = Field(8081, ge=1, le=65535)
    auth_service_key: str = ""

    modules: CommaList = Field(default_factory=lambda: tuple(modules.shipped()))

    @cached_property
    def auth_base_url(self) -> str:
        return self.auth_url.rstrip("/") or f"http://127.0.0.1:{self.auth_port}"

    def faults(self) -> list[str]:
        return [*self._urls(), *self._secrets(), *self._pool(), *modules.faults(self.modules)]

    def _urls(self) -> list[str]:
        # A value may hold a password: say what is expected, never what was given.
        expected = {
            "DATABASE_URL": (self.database_url, ("postgresql", "postgres")),
            "REDIS_URL": (self.redis_url, ("redis", "rediss", "unix")),
            "AUTH_URL": (self.auth_base_url, ("http", "https")),
        }
        return [
            f"{name}: must be set to a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            for name, (url, schemes) in expected.items()
            if _scheme(url) not in schemes
        ]

    def _secrets(self) -> list[str]:
        found = []
        for name, secret in (("CORE_SERVICE_KEY", self.core_service_key), ("AUTH_SERVICE_KEY", self.auth_service_key)):
            if not secret:
                found.append(f"{name}: must be set")
            elif self.is_production and (reason := weakness(secret)):
                found.append(f"{name}: {reason}")
        return found

    def _pool(self) -> list[str]:
        if self.database_pool_min > self.database_pool_max:
            return ["DATABASE_POOL_MIN: must not be larger than DATABASE_POOL_MAX"]
        return []


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""
