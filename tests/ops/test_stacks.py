"""Stacks of the tests are their own, whatever a developer's shell has exported."""

from pathlib import Path

import pytest

from tests.ops.stacks import Stack


def test_a_developers_settings_do_not_reach_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = (
        "ACME",
        "ACME_EMAIL",
        "ACME_DIRECTORY",
        "LETSENCRYPT_EMAIL",
        "TLS_CERTIFICATES",
        "DOMAINS",
        "LIMIT_GENERAL",
        "REDIS_URL",
    )
    for name in foreign:
        monkeypatch.setenv(name, "theirs")
    assert not set(foreign) & Stack(tmp_path).environ.keys()
    assert Stack(tmp_path, ACME="off").environ["ACME"] == "off"
