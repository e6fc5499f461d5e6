"""What the core service reads from its environment."""

from functools import cached_property

from pydantic import AliasChoices, Field

from common.service_settings import ServiceSettings
from common.settings import CommaList
from core_service import modules


class CoreSettings(ServiceSettings):
    """CORE_HOST, CORE_PORT … as in contracts.md; `faults` says what is required."""

    core_host: str = "127.0.0.1"
    core_port: int = Field(8082, ge=0, le=65535)
    core_workers: int = Field(1, ge=1, le=256)
    core_service_key: str = ""

    database_url: str = Field("", validation_alias=AliasChoices("CORE_DATABASE_URL", "DATABASE_URL"))

    auth_url: str = ""
    auth_port: int = Field(8081, ge=1, le=65535)
    auth_service_key: str = ""

    modules: CommaList = Field(default_factory=lambda: tuple(modules.shipped()))

    @cached_property
    def auth_base_url(self) -> str:
        return self.auth_url.rstrip("/") or f"http://127.0.0.1:{self.auth_port}"

    def faults(self) -> list[str]:
        return [*super().faults(), *modules.faults(self.modules)]

    def urls(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        return {**super().urls(), "AUTH_URL": (self.auth_base_url, ("http", "https"))}

    def secrets(self) -> dict[str, str]:
        return {"CORE_SERVICE_KEY": self.core_service_key, "AUTH_SERVICE_KEY": self.auth_service_key}
