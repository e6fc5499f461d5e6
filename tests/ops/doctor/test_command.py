"""`gatehouse doctor --production` over a stack that runs as in production, and where nothing runs yet."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops import secrets
from tests.ops.stacks import Stack
from tests.servers import state_directory

PRODUCTION = {
    "ENV": "production",
    "EMBEDDED": "true",
    "DOMAINS": "localhost,nowhere.invalid",
    "PUBLIC_ADDRESS": "127.0.0.1,::1",
    "PUBLIC_URL": "https://localhost",
    "TRUSTED_PROXIES": "127.0.0.1/32",
    "ALERT_HOOK": "/bin/true",
    # Nobody is asked for advisories.
    "ADVISORY_URL": "http://127.0.0.1:9/",
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with state_directory() as var:
        secrets.ensure(var, {})
        made = Stack(var, **PRODUCTION)
        made.up()
        yield made
        made.interrupt()
        assert made.is_gone()


def examined(stack: Stack, **settings: str) -> dict[str, dict[str, Any]]:
    done = stack.gatehouse("doctor", "--production", "--json", **settings)
    assert done.returncode == 1, done.stderr
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


def test_a_running_host_is_seen_through(stack: Stack) -> None:
    findings = examined(stack)
    good = ("Settings", "Ports", "ENV", "Secrets", "Service ports", "Readiness", "Key of auth", "Key of core")
    good += ("Unknown host", "Rate limits", "CORS", "Hostile paths", "Migrations", "Database role", "Pooler")
    good += ("Store closed", "Store memory", "Log rotation", "Log access")
    assert {name: findings[name]["state"] for name in good} == dict.fromkeys(good, "ok")
    assert "nowhere.invalid does not resolve" in findings["DNS"]["detail"]
    assert "localhost" not in findings["DNS"]["detail"].partition(" (")[0]
    assert (findings["Backup"]["state"], findings["Vulnerabilities"]["state"]) == ("fail", "skip")
    assert all(finding["fix"] for finding in findings.values() if finding["state"] in ("warn", "fail"))
    assert all(finding["group"] for finding in findings.values())
    shown = json.dumps(list(findings.values()))
    assert not [name for name in secrets.NAMES if (stack.var / "secrets" / name).read_text().strip() in shown]


def test_the_same_for_people_stands_under_headings(stack: Stack) -> None:
    done = stack.gatehouse("doctor", "--production")
    assert done.returncode == 1
    headings = [line for line in done.stdout.splitlines() if line and line[0].isalpha()]
    assert headings[:3] == ["Settings", "Secrets and rights", "Machine"]
    assert "✗ DNS" in done.stdout
    assert " failed, " in done.stdout.splitlines()[-1]


def test_resources_of_a_running_stack_are_counted(stack: Stack) -> None:
    """Here because starting a stack takes longer than the question."""
    found = json.loads(stack.gatehouse("resources", "--json").stdout)
    assert [use["name"] for use in found["services"]] == ["edge", "auth", "core", "pg", "valkey"]
    assert all(use["memory_bytes"] > 1_000_000 and use["processes"] >= 1 for use in found["services"])
    sizes = {size["name"]: size["size_bytes"] for size in found["sizes"]}
    assert sizes["database"] > 20_000_000
    assert 0 < sizes["logs"] < 10_000_000
    assert "database" in stack.gatehouse("resources").stdout


def test_before_the_first_start_it_says_what_is_missing_and_makes_nothing(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var", **{**PRODUCTION, "DOMAINS": ""})
    findings = examined(stack)
    assert findings["Settings"]["state"] == "fail"
    for name in ("DOMAINS", "SECRET_KEY", "AUTH_SERVICE_KEY"):
        assert name in findings["Settings"]["detail"]
    assert {findings[name]["state"] for name in ("Readiness", "Key of auth", "Database role", "Store closed")} == {
        "skip"
    }
    assert not stack.var.exists()
