"""The recipes for platforms name what the image has and what production needs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from common import settings
from edge.settings import EdgeSettings
from ops.stack import configuration

ROOT = Path(__file__).resolve().parents[2]
START = "gatehouse start"
DATABASE = "postgresql://app:words@db.example.com/app"
MADE = "bWFkZS1ieS10aGUtcGxhdGZvcm0tMDEyMzQ1Njc4OQ=="


def faults(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """What production would refuse."""
    elsewhere = {"GATEHOUSE_VAR": str(tmp_path), "GATEHOUSE_ENV_FILE": "", "PORT": "10000"}
    found = dict(configuration.read({**environ, **elsewhere}).faults)
    settings.load(EdgeSettings, {**environ, **elsewhere})  # raises with its own
    return found


@pytest.fixture
def blueprint() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "ops" / "render" / "render.yaml").read_text())


def value_of(variable: dict[str, Any]) -> str:
    """What Render would put there."""
    if variable.get("generateValue"):
        return MADE
    if "fromDatabase" in variable:
        return DATABASE
    if "fromService" in variable:
        return "redis://red-1:6379"
    return str(variable.get("value", "app.onrender.com"))


def test_renders_variables_are_all_that_production_needs(blueprint: dict[str, Any], tmp_path: Path) -> None:
    [web] = [service for service in blueprint["services"] if service["type"] == "web"]
    environ = {variable["key"]: value_of(variable) for variable in web["envVars"]}
    assert faults(environ, tmp_path) == {}
    secret = {variable["key"] for variable in web["envVars"] if variable.get("generateValue")}
    assert secret == {"SECRET_KEY", "KEY_PEPPER", "AUTH_SERVICE_KEY", "CORE_SERVICE_KEY"}


def test_renders_parts_are_defined(blueprint: dict[str, Any]) -> None:
    services = {service["name"]: service for service in blueprint["services"]}
    web = services["gatehouse"]
    assert (web["dockerCommand"].partition("  #")[0], web["healthCheckPath"]) == (START, "/health/ready")
    named = [variable for variable in web["envVars"] if "fromDatabase" in variable or "fromService" in variable]
    known = {*services, *(database["name"] for database in blueprint["databases"])}
    assert {(v.get("fromDatabase") or v["fromService"])["name"] for v in named} <= known
    assert services["gatehouse-limits"]["maxmemoryPolicy"] == "noeviction"
    assert all(part["ipAllowList"] == [] for part in (services["gatehouse-limits"], *blueprint["databases"]))


def test_railways_variables_are_all_that_production_needs_but_its_secrets(tmp_path: Path) -> None:
    given = dotenv_values(ROOT / "ops" / "railway" / "variables.example", interpolate=False)
    filled = {"${{Postgres.DATABASE_URL}}": DATABASE, "${{Redis.REDIS_URL}}": "redis://redis.railway.internal:6379"}
    environ = {name: filled.get(value or "", value or "") for name, value in given.items()}
    environ["DOMAINS"] = "app.up.railway.app"
    text = (ROOT / "docs" / "platforms.md").read_text()
    [railway] = re.findall(r"^\*\*Railway\*\*.+?\n\n", text, re.MULTILINE | re.DOTALL)
    environ |= dict.fromkeys(re.findall(r"`([A-Z]+_[A-Z_]+)`", railway), MADE)
    assert faults(environ, tmp_path) == {}


def test_railway_starts_and_asks_what_the_image_has() -> None:
    deploy = json.loads((ROOT / "ops" / "railway" / "railway.json").read_text())["deploy"]
    assert (deploy["startCommand"], deploy["healthcheckPath"]) == (START, "/health/ready")
    # More than LAME_DUCK_SECONDS and SHUTDOWN_SECONDS.
    assert deploy["drainingSeconds"] >= 40
