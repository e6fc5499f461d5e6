"""Settings: read once from the environment, validated whole, every fault named at once.

Order: process environment (`NAME`, then `NAME_FILE`), then `$GATEHOUSE_VAR/secrets/NAME`, then the settings file:
`.env` in the working directory, or what GATEHOUSE_ENV_FILE names. Files are read each time, so a reload sees them anew.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import orjson
import pydantic
from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from common.access_log import AccessLogFormat
from common.error_tracking import dsn_fault
from common.sentences import sentence

SECRET_LENGTH_MIN = 32
# Values that appear in examples and tutorials; each has been seen in production somewhere.
_WELL_KNOWN = ("changeme", "change-me", "change_me", "your-secret", "your_secret", "secret-key", "example", "password")


class SettingsError(Exception):
    """The settings cannot be used; str() names every fault, one a line."""


def _split(value: object) -> object:
    """`a,b` or a JSON list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return orjson.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


CommaList = Annotated[tuple[str, ...], BeforeValidator(_split)]


def weakness(secret: str) -> str | None:
    """Why `secret` must not protect anything in production, or None."""
    if len(secret) < SECRET_LENGTH_MIN:
        return f"is shorter than {SECRET_LENGTH_MIN} characters; `openssl rand -base64 48` makes one"
    lowered = secret.lower()
    if len(set(secret)) < 8 or any(word in lowered for word in _WELL_KNOWN):
        return "is a default or too simple; `openssl rand -base64 48` makes one"
    return None


def secret_faults(given: Mapping[str, str], *, is_production: bool) -> list[str]:
    """What is wrong with the secrets a process needs, by variable: missing anywhere, weak in production."""
    found = []
    for name, secret in given.items():
        reason = "must be set" if not secret else weakness(secret) if is_production else None
        if reason:
            found.append(f"{name}: {reason}")
    return found


class Settings(BaseModel):
    """What every process reads; services add their own.

    A field `log_level` is the variable LOG_LEVEL. Every field has a default; what is required is said by `faults`.
    """

    model_config = ConfigDict(
        extra="ignore", frozen=True, alias_generator=AliasGenerator(validation_alias=str.upper), validate_default=True
    )

    env: Literal["development", "production", "test"] = Field(
        "development", validation_alias=AliasChoices("ENV", "NODE_ENV")
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_to: Literal["stdout", "files"] = "stdout"
    access_log_format: AccessLogFormat = "json"
    log_retention_days: int = Field(30, ge=1)
    log_size_max: pydantic.ByteSize = Field(pydantic.ByteSize(100 * 1024**2), ge=1)
    log_files_max: int = Field(100, ge=1)
    sentry_dsn: str = ""
    sentry_traces_sample_rate: float = Field(0.1, ge=0, le=1)
    gatehouse_var: Path = Path("var")
    lame_duck_seconds: float = Field(5, ge=0, le=300)
    shutdown_seconds: float = Field(30, ge=0, le=3600)

    @field_validator("sentry_dsn")
    @classmethod
    def _usable_dsn(cls, dsn: str, info: ValidationInfo) -> str:
        if dsn and (fault := dsn_fault(dsn, is_production=info.data.get("env") == "production")):
            raise ValueError(fault)
        return dsn

    @property
    def is_production(self) -> bool:
        return self.env == "production"

    def log_file(self, service: str) -> str:
        """Where a service's lines go, absolute; empty for standard output."""
        return str(self.gatehouse_var.absolute() / "logs" / f"{service}.log") if self.log_to == "files" else ""

    def faults(self) -> list[str]:
        """What is wrong with the values taken together; each line starts with the variable's name."""
        return []


AnySettings = TypeVar("AnySettings", bound=Settings)


def load(cls: type[AnySettings], environ: Mapping[str, str] | None = None) -> AnySettings:
    """Reads `cls` from all sources.

    Raises SettingsError naming every fault at once.
    """
    values = _merged({name for aliases in names(cls).values() for name in aliases}, environ)
    faults: list[str] = []
    try:
        settings = cls.model_validate(values)
    except pydantic.ValidationError as error:
        faults = [_named(str(fault["loc"][0]), fault) for fault in error.errors(include_input=False)]
        wrong = {fault["loc"][0] for fault in error.errors()}
        # Every field has a default, so the rest can still be judged and all faults be named at once.
        settings = cls.model_validate({name: value for name, value in values.items() if name not in wrong})
    if faults := faults + settings.faults():
        raise SettingsError("\n".join(faults))
    return settings


def _named(name: str, fault: ErrorDetails) -> str:
    said = sentence(fault, f"{name}:")
    return said if said.startswith(name) else f"{name}: {said}"


def names(cls: type[Settings]) -> dict[str, tuple[str, ...]]:
    """Each field's environment variables, the preferred one first."""
    found: dict[str, tuple[str, ...]] = {}
    for field, info in cls.model_fields.items():
        alias = info.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or field.upper()]
        found[field] = tuple(str(choice) for choice in choices)
    return found


def variable(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """One variable by name, looked up where every setting is; None when it is not set."""
    return _merged({name}, environ).get(name)


def _merged(wanted: set[str], environ: Mapping[str, str] | None) -> dict[str, str]:
    """The wanted variables with the layers applied. An empty value counts as not set."""
    given = {name: value for name, value in (os.environ if environ is None else environ).items() if value}
    dotenv = _settings_file(Path(given.get("GATEHOUSE_ENV_FILE", ".env")))
    var = Path(given.get("GATEHOUSE_VAR") or dotenv.get("GATEHOUSE_VAR") or "var")
    layers = [
        {name: dotenv[name] for name in wanted if name in dotenv},
        _files({name: Path(dotenv[f"{name}_FILE"]) for name in wanted if f"{name}_FILE" in dotenv}, required=True),
        _files({name: var / "secrets" / name for name in wanted}),
        _files({name: Path(given[f"{name}_FILE"]) for name in wanted if f"{name}_FILE" in given}, required=True),
        {name: given[name] for name in wanted if name in given},
    ]
    return {name: value for layer in layers for name, value in layer.items()}


def _settings_file(path: Path) -> dict[str, str]:
    """An absent file sets nothing. Raises SettingsError for one that is there and cannot be read."""
    try:
        # Opened here, not by dotenv: it takes a file behind a closed directory for an absent one.
        with path.open(encoding="utf-8") as file:
            return {name: value for name, value in dotenv_values(stream=file).items() if value}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"GATEHOUSE_ENV_FILE: {path} cannot be read ({type(error).__name__})") from None


def _files(paths: Mapping[str, Path], *, required: bool = False) -> dict[str, str]:
    found, faults = {}, []
    for name, path in paths.items():
        try:
            found[name] = path.read_text().strip()
        except FileNotFoundError:
            faults += [f"{name}_FILE: {path} does not exist"] if required else []
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{name}: {path} cannot be read ({type(error).__name__})")
    if faults:
        raise SettingsError("\n".join(sorted(faults)))
    return found
