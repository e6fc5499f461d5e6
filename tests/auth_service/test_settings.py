"""Settings, and what the supervisor asks before it starts anything."""

import json
import os
import subprocess
import sys

import pytest

from auth_service.app import check
from auth_service.settings import AuthSettings
from common.settings import SettingsError, load

GOOD = {
    "DATABASE_URL": "postgresql://u:p@localhost/db",
    "REDIS_URL": "redis://localhost",
    "AUTH_SERVICE_KEY": "q7Zk2m9Xw4Lr8Tn1Vb6Yc3Hd5Gf0Js7P",
    "SECRET_KEY": "N3v8Qx1Lz6Wb4Tk9Rm2Yc7Hd5Gf0Js8PuE",
    "KEY_PEPPER": "B5t0Jr7Ke2Xn9Vq4Lw1Zm6Hy8Gc3Df5SaQ",
    "GATEHOUSE_VAR": "/nonexistent",
    "GATEHOUSE_ENV_FILE": "/nonexistent",
}


def faults(**changed):
    with pytest.raises(SettingsError) as raised:
        load(AuthSettings, GOOD | changed)
    return str(raised.value).splitlines()


def test_check_answers_the_plan():
    assert check(GOOD | {"AUTH_PORT": "9", "AUTH_WORKERS": "3"}) == {
        "workers": 3,
        "listen": [{"name": "http", "host": "127.0.0.1", "port": 9, "setting": "AUTH_PORT"}],
        "lame_duck_seconds": 5,
        "shutdown_seconds": 30,
        "log": "",
    }


def test_all_missing_settings_are_named_at_once():
    with pytest.raises(SettingsError) as raised:
        check({"GATEHOUSE_VAR": "/nonexistent", "GATEHOUSE_ENV_FILE": "/nonexistent"})
    named = [line.partition(":")[0] for line in str(raised.value).splitlines()]
    assert named == ["DATABASE_URL", "REDIS_URL", "SECRET_KEY", "AUTH_SERVICE_KEY", "KEY_PEPPER"]


def test_secret_key_of_31_characters_is_refused_everywhere():
    for env in ("development", "production"):
        (line,) = faults(SECRET_KEY="N3v8Qx1Lz6Wb4Tk9Rm2Yc7Hd5Gf0Js8", ENV=env)
        assert line.startswith("SECRET_KEY: is shorter than 32 characters")


def test_weak_secrets_are_all_refused_in_production_only():
    weak = {"AUTH_SERVICE_KEY": "changeme", "KEY_PEPPER": "a" * 40}
    assert [line.partition(":")[0] for line in faults(ENV="production", **weak)] == ["AUTH_SERVICE_KEY", "KEY_PEPPER"]
    assert load(AuthSettings, GOOD | weak).key_pepper == "a" * 40


def test_aliases_are_read():
    settings = load(AuthSettings, {k: v for k, v in GOOD.items() if k != "SECRET_KEY"} | {"JWT_SECRET": "j" * 32})
    assert settings.secret_key == "j" * 32
    assert load(AuthSettings, GOOD | {"AUTH_DATABASE_URL": "postgres://other"}).database_url == "postgres://other"


def test_fault_never_shows_the_value():
    line = faults(DATABASE_URL="mysql://root:hunter2@db")[0]
    assert line.startswith("DATABASE_URL: ")
    assert "hunter2" not in line


def test_process_refuses_to_start_and_names_the_variable():
    environ = {**os.environ, **GOOD, "SECRET_KEY": "x" * 31}
    done = subprocess.run(
        [sys.executable, "-m", "auth_service"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "SECRET_KEY: is shorter than 32 characters" in done.stderr


def test_process_answers_its_plan():
    done = subprocess.run(
        [sys.executable, "-m", "auth_service", "check"],
        env={**os.environ, **GOOD},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["listen"][0]["name"] == "http"
