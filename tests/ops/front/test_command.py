"""`gatehouse front` prints what the settings say."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli import cli


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DOMAINS", "EDGE_PORT", "PORT", "GATEHOUSE_ENV_FILE", "GATEHOUSE_VAR"):
        monkeypatch.delenv(name, raising=False)


def front(*words: str) -> Result:
    return CliRunner().invoke(cli, ["front", *words])


def test_hosts_and_port_come_from_the_settings(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DOMAINS=api.example.com\nDOMAIN2=www.example.org\nEDGE_PORT=9090\n")
    printed = front("nginx")
    assert printed.exit_code == 0, printed.output
    assert "server_name api.example.com www.example.org;" in printed.output
    assert "server 127.0.0.1:9090;" in printed.output
    assert "/etc/letsencrypt/live/www.example.org/privkey.pem" in printed.output


def test_options_win_over_the_settings(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DOMAINS=api.example.com\n")
    printed = front("caddy", "--domain", "other.example.com", "--upstream", "10.1.2.3:80", "--email", "me@example.com")
    assert "https://other.example.com {" in printed.output
    assert "reverse_proxy 10.1.2.3:80" in printed.output
    assert "email me@example.com" in printed.output
    assert "api.example.com" not in printed.output


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nginx"], "no host is known: give --domain, or set DOMAINS"),
        (["apache"], "'apache' is not one of"),
        (["nginx", "--domain", "a.example.com", "--nginx-version", "new"], "new is no version such as 1.22"),
    ],
)
def test_wrong_usage_is_told(words: list[str], reason: str) -> None:
    printed = front(*words)
    assert printed.exit_code == 2
    assert reason in printed.output
