"""What the edge refuses to start with, and which authority it asks."""

from pathlib import Path

import pytest

from common import settings
from common.settings import SettingsError
from edge.settings import EdgeSettings
from edge.tls.settings import PRODUCTION, STAGING, unobtainable
from tests.edge.conftest import KEYS

GOOD = {"ACME": "true", "LETSENCRYPT_EMAIL": "ops@example.com", "DOMAINS": "one.test", "REDIS_URL": "redis://x/0"}


def load(**more: str) -> EdgeSettings:
    return settings.load(EdgeSettings, {"GATEHOUSE_ENV_FILE": "/nonexistent", **KEYS, **GOOD, **more})


def test_one_setting_changes_the_authority() -> None:
    assert load().authority.directory == PRODUCTION
    assert load(ACME_STAGING="true").authority.directory == STAGING
    own = load(ACME_DIRECTORY="https://ca.example.com/acme/directory")
    assert own.authority.directory == "https://ca.example.com/acme/directory"
    # And with it where its certificates are kept.
    assert len({load().folders.own, load(ACME_STAGING="true").folders.own, own.folders.own}) == 3


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"LETSENCRYPT_EMAIL": ""}, "LETSENCRYPT_EMAIL: must be set with ACME=true"),
        ({"DOMAINS": ""}, "ACME: needs a host in DOMAINS"),
        ({"DOMAINS": "*.one.test,localhost,192.0.2.1"}, "ACME: needs a host in DOMAINS"),
        ({"REDIS_URL": ""}, "ACME: needs REDIS_URL"),
        ({"ACME_STAGING": "true", "ACME_DIRECTORY": "https://ca.test/dir"}, "ACME_STAGING: ACME_DIRECTORY names"),
        ({"ACME_DIRECTORY": "internal"}, "ACME_DIRECTORY: must be an https:// URL"),
        ({"ACME_CA": "/nonexistent/ca.pem"}, "ACME_CA: /nonexistent/ca.pem does not exist"),
        ({"TLS_CERTIFICATES": "/nonexistent"}, "TLS_CERTIFICATES: /nonexistent is no directory"),
    ],
)
def test_what_cannot_work_is_refused_by_name(given: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(**given)
    assert str(refused.value).startswith(fault)
    assert len(str(refused.value).splitlines()) == 1


def test_settings_of_a_proxys_authority_are_nothing_to_an_edge_that_orders_none() -> None:
    assert not load(ACME="false", ACME_DIRECTORY="internal", REDIS_URL="").ends_tls


@pytest.mark.parametrize("host", ["*.one.test", "localhost", "192.0.2.1", "[::1]"])
def test_no_authority_is_asked_for_what_it_cannot_give(host: str) -> None:
    assert unobtainable(host)
    assert unobtainable("one.test") is None


def test_certificates_are_where_the_state_is(tmp_path: Path) -> None:
    assert load(GATEHOUSE_VAR=str(tmp_path)).folders.given == tmp_path / "certs"
    assert load(GATEHOUSE_VAR=str(tmp_path)).folders.acme == tmp_path / "certs" / "acme"
