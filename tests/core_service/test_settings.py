"""The core service refuses to start on wrong settings, and says all that is wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from common.settings import SettingsError, load
from core_service import modules
from core_service.app import check
from core_service.settings import CoreSettings

GOOD = {
    "DATABASE_URL": "postgresql://core:secret@127.0.0.1/gatehouse",
    "REDIS_URL": "redis://127.0.0.1",
    "CORE_SERVICE_KEY": "k" * 8,
    "AUTH_SERVICE_KEY": "a" * 8,
    "GATEHOUSE_ENV_FILE": "/nonexistent",
    "GATEHOUSE_VAR": "/nonexistent",
}


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        check(environ)
    return str(caught.value).splitlines()


def test_check_answers_the_plan() -> None:
    assert check(GOOD) == {
        "workers": 1,
        "listen": [{"name": "http", "host": "127.0.0.1", "port": 8082, "setting": "CORE_PORT"}],
        "lame_duck_seconds": 5,
        "shutdown_seconds": 30,
        "log": "",
    }
    plan = check({**GOOD, "CORE_WORKERS": "3", "CORE_HOST": "0.0.0.0", "CORE_PORT": "9000"})
    assert (plan["workers"], plan["listen"][0]["host"], plan["listen"][0]["port"]) == (3, "0.0.0.0", 9000)


def test_defaults_are_the_documented_ones() -> None:
    settings = load(CoreSettings, GOOD)
    assert settings.auth_base_url == "http://127.0.0.1:8081"
    assert load(CoreSettings, {**GOOD, "AUTH_PORT": "9001"}).auth_base_url == "http://127.0.0.1:9001"
    assert load(CoreSettings, {**GOOD, "AUTH_URL": "https://auth/"}).auth_base_url == "https://auth"
    assert list(settings.modules) == modules.shipped()
    assert (settings.database_pool_max, settings.database_timeout) == (50, 30)


def test_core_has_a_database_url_of_its_own() -> None:
    own = "postgresql://own@127.0.0.1/core"
    assert load(CoreSettings, {**GOOD, "CORE_DATABASE_URL": own}).database_url == own
    assert load(CoreSettings, {**GOOD, "CORE_DATABASE_URL": ""}).database_url == GOOD["DATABASE_URL"]


def test_everything_missing_is_named_at_once() -> None:
    empty = {name: GOOD[name] for name in ("GATEHOUSE_ENV_FILE", "GATEHOUSE_VAR")}
    named = {fault.partition(":")[0] for fault in faults(empty)}
    assert named == {"DATABASE_URL", "REDIS_URL", "CORE_SERVICE_KEY", "AUTH_SERVICE_KEY"}


def test_everything_wrong_is_named_at_once_and_no_value_shown() -> None:
    wrong = {
        **GOOD,
        "DATABASE_URL": "mysql://root:hunter2@db",
        "REDIS_URL": "hunter2",
        "AUTH_URL": "ftp://hunter2",
        "CORE_PORT": "http",
        "CORE_WORKERS": "0",
        "DATABASE_POOL_MIN": "60",
        "DATABASE_TIMEOUT": "31",
        "DATABASE_POOLER": "pgcat",
        "MODULES": "expenses,nosuch",
    }
    found = faults(wrong)
    assert {fault.partition(":")[0] for fault in found} == {
        "DATABASE_URL",
        "REDIS_URL",
        "AUTH_URL",
        "CORE_PORT",
        "CORE_WORKERS",
        "DATABASE_POOL_MIN",
        "DATABASE_TIMEOUT",
        "DATABASE_POOLER",
        "MODULES",
    }
    assert "hunter2" not in "\n".join(found)


def test_production_refuses_weak_keys() -> None:
    assert {fault.partition(":")[0] for fault in faults({**GOOD, "ENV": "production"})} == {
        "CORE_SERVICE_KEY",
        "AUTH_SERVICE_KEY",
    }


def test_service_runs_under_its_supervisor_and_stops_when_told(
    tmp_path: Path, shared_database_url: str, redis_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environ = {
        **os.environ,
        **GOOD,
        "DATABASE_URL": shared_database_url,
        "REDIS_URL": redis_url,
        "CORE_PORT": str(port),
        "CORE_WORKERS": "2",
        "LAME_DUCK_SECONDS": "0",
    }
    process = subprocess.Popen([sys.executable, "-m", "core_service"], env=environ, stdout=subprocess.PIPE)
    try:
        body = _wait_for(f"http://127.0.0.1:{port}/health/ready", process)
        assert body["checks"] == {"database": "healthy", "redis": "healthy"}
        long = urllib.request.Request(f"http://127.0.0.1:{port}/health", headers={"X-Long": "a" * 16_384})
        with urllib.request.urlopen(long, timeout=5) as answer:  # the edge lets as much pass
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    lines = [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]
    assert all(line["service"] == "core" for line in lines)
    assert GOOD["CORE_SERVICE_KEY"] not in output.decode()
    assert shared_database_url not in output.decode()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> dict[str, dict[str, str]]:
    deadline = time.monotonic() + 15
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                body: dict[str, dict[str, str]] = json.load(answer)
                return body
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
