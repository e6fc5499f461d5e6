"""`gatehouse certs` and what the doctor says of certificates."""

import json
from pathlib import Path

import pytest

from ops.stack import configuration
from ops.stack.doctor import Finding, certificates
from tests.edge.tls.conftest import Certificates
from tests.edge.tls.conftest import certificates as put_there  # noqa: F401 - the fixture
from tests.ops.stacks import Stack

ACME = {"ACME": "true", "LETSENCRYPT_EMAIL": "ops@example.com", "DOMAINS": "api.test,*.api.test"}


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def listed(stack: Stack, **settings: str) -> dict[str, dict[str, object]]:
    done = stack.gatehouse("certs", "--json", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    return {found["names"][0]: found for found in json.loads(done.stdout)}


def test_without_certificates_it_says_so(stack: Stack) -> None:
    said = "no certificates: the edge speaks plain HTTP (docs/tls.md)\n"
    assert stack.gatehouse("certs").stdout == said


def test_names_issuer_and_days_left_are_shown(stack: Stack, put_there: Certificates) -> None:  # noqa: F811
    put_there.put("one.test", "www.one.test", days=40)
    done = stack.gatehouse("certs")
    row = done.stdout.splitlines()[1]
    assert row.split() == ["one.test,", "www.one.test", "Test", "CA", "40", "manual", "good", "by", "you"]


def test_every_state_has_its_reason(stack: Stack, put_there: Certificates) -> None:  # noqa: F811
    put_there.put("good.test", days=60)
    put_there.put("ending.test", days=10)
    put_there.put("expired.test", days=-3)
    put_there.put("open.test", mode=0o644)
    found = listed(stack, **ACME)
    states = {name: (status["state"], status["source"]) for name, status in found.items()}
    assert states == {
        "good.test": ("good", "manual"),
        "ending.test": ("ending", "manual"),
        "expired.test": ("expired", "manual"),
        "open.test": ("refused", "manual"),
        "api.test": ("missing", "acme"),
        "*.api.test": ("unobtainable", "manual"),
    }
    assert "expired on" in str(found["expired.test"]["error"])
    assert "chmod 600" in str(found["open.test"]["error"])
    assert "wildcard" in str(found["*.api.test"]["error"])
    assert found["api.test"]["renews_at"] is not None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "the embedded Valkey is not running; `gatehouse up` starts it"),
        ({"REDIS_URL": "redis://127.0.0.1:9"}, "ACME=true is not set: certificates of yours are renewed by"),
        ({"REDIS_URL": "redis://127.0.0.1:9", **ACME}, "Valkey cannot be reached"),
    ],
)
def test_renewing_without_what_it_needs_is_one_sentence(stack: Stack, settings: dict[str, str], sentence: str) -> None:
    done = stack.gatehouse("certs", "renew", **settings)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {sentence}")
    assert len(done.stderr.splitlines()) == 1


def test_only_configured_hosts_are_ordered(stack: Stack) -> None:
    done = stack.gatehouse("certs", "renew", "stranger.test", **ACME, REDIS_URL="redis://127.0.0.1:9")
    assert (done.returncode, "stranger.test: not among DOMAINS" in done.stderr) == (1, True)


def judged(stack: Stack, **settings: str) -> Finding:
    return certificates.check(configuration.read({**stack.environ, **settings}))


def test_the_doctor_warns_of_what_is_about_to_expire_and_fails_on_what_cannot_be_used(
    stack: Stack,
    put_there: Certificates,  # noqa: F811
) -> None:
    assert judged(stack).state == "ok"
    put_there.put("one.test", days=60)
    assert judged(stack) == Finding("Certificates", "ok", "1, 60 days left at least")
    assert judged(stack, **ACME).state == "warn"
    put_there.put("two.test", days=13)
    warned = judged(stack)
    assert (warned.state, warned.detail) == ("warn", "about to expire: two.test in 13 days")
    put_there.put("three.test", mode=0o640)
    failed = judged(stack)
    assert failed.state == "fail"
    assert "three.test.key is a private key open to other users" in failed.detail
