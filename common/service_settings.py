"""What auth and core both read: their database, Valkey, and the secrets they cannot do without."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from common.postgres import PoolOptions
from common.settings import Settings, secret_faults


class ServiceSettings(Settings):
    """A service adds `database_url` with its own variable's name first, and says which secrets it needs."""

    database_url: str = ""
    database_pool_min: int = Field(0, ge=0, le=10_000)
    database_pool_max: int = Field(50, ge=1, le=10_000)
    database_timeout: float = Field(30, gt=0, le=30)
    database_pooler: Literal["none", "session", "transaction"] = "none"
    redis_url: str = ""

    def pool_options(self, workers: int) -> PoolOptions:
        """One worker's share of the connections: all workers together stay within DATABASE_POOL_MAX."""
        size_max = max(1, self.database_pool_max // workers)
        return PoolOptions(
            dsn=self.database_url,
            size_min=min(self.database_pool_min // workers, size_max),
            size_max=size_max,
            wait_seconds=self.database_timeout,
            prepared_statements=self.database_pooler != "transaction",
        )

    def faults(self) -> list[str]:
        return [*self._url_faults(), *self._secret_faults(), *self._pool_faults()]

    def urls(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Each URL by its variable: its value and the schemes it may have."""
        return {
            "DATABASE_URL": (self.database_url, ("postgresql", "postgres")),
            "REDIS_URL": (self.redis_url, ("redis", "rediss", "unix")),
        }

    def secrets(self) -> dict[str, str]:
        """The secrets this service needs, by their variables."""
        return {}

    def _url_faults(self) -> list[str]:
        # A value may hold a password: say what is expected, never what was given.
        return [
            f"{name}: must be set to a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            for name, (url, schemes) in self.urls().items()
            if _scheme(url) not in schemes
        ]

    def _secret_faults(self) -> list[str]:
        return secret_faults(self.secrets(), is_production=self.is_production)

    def _pool_faults(self) -> list[str]:
        if self.database_pool_min > self.database_pool_max:
            return ["DATABASE_POOL_MIN: must not be larger than DATABASE_POOL_MAX"]
        return []


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""
