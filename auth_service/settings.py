"""What the auth service reads from its environment."""

from pydantic import AliasChoices, Field

from common.service_settings import ServiceSettings
from common.settings import SECRET_LENGTH_MIN, weakness


class AuthSettings(ServiceSettings):
    """AUTH_HOST, AUTH_PORT … as in contracts.md; `faults` says what is required."""

    auth_host: str = "127.0.0.1"
    auth_port: int = Field(8081, ge=0, le=65535)
    auth_workers: int = Field(1, ge=1, le=256)
    auth_service_key: str = ""

    database_url: str = Field("", validation_alias=AliasChoices("AUTH_DATABASE_URL", "DATABASE_URL"))

    # Protects what is stored: signing keys, refresh tokens. Access tokens are signed with keys of their own.
    secret_key: str = Field("", validation_alias=AliasChoices("SECRET_KEY", "JWT_SECRET"))
    key_pepper: str = ""

    access_token_expire_minutes: float = Field(30, gt=0, le=24 * 60)
    refresh_token_expire_days: float = Field(7, gt=0, le=30)
    jwt_issuer: str = Field("gatehouse", min_length=1)
    jwt_audience: str = Field("gatehouse-api", min_length=1)

    def faults(self) -> list[str]:
        return [*super().faults(), *self._short_secret_key()]

    def secrets(self) -> dict[str, str]:
        return {
            "SECRET_KEY": self.secret_key,
            "AUTH_SERVICE_KEY": self.auth_service_key,
            "KEY_PEPPER": self.key_pepper,
        }

    def _short_secret_key(self) -> list[str]:
        # Everything stored hangs on this one, in development too: such databases have a way of staying.
        is_short = 0 < len(self.secret_key) < SECRET_LENGTH_MIN
        return [f"SECRET_KEY: {weakness(self.secret_key)}"] if is_short and not self.is_production else []
