"""Secrets of a set-up: made once, never replaced."""

import stat
from pathlib import Path

import pytest

from common.settings import weakness
from ops.setup.machine import Machine
from ops.setup.secret_files import OF_SERVICES, SecretFiles, secret
from ops.stack.errors import StackError

FOLDER = Path("/secrets")


def files(root: Path, **elsewhere: str) -> SecretFiles:
    return SecretFiles(Machine(root), FOLDER, elsewhere)


def test_a_missing_secret_is_made_strong_and_closed(tmp_path: Path) -> None:
    kept = files(tmp_path)
    value = kept.ensure("SECRET_KEY")
    assert weakness(value) is None
    assert stat.S_IMODE((tmp_path / "secrets" / "SECRET_KEY").stat().st_mode) == 0o600
    assert files(tmp_path).ensure("SECRET_KEY") == value
    assert kept.made == ["SECRET_KEY"]


def test_a_secret_in_the_settings_file_gets_no_second_one_that_would_win(tmp_path: Path) -> None:
    assert files(tmp_path, SECRET_KEY="by hand").ensure("SECRET_KEY") == "by hand"
    assert not (tmp_path / "secrets").exists()


def test_another_value_is_refused_unless_somebody_says_so(tmp_path: Path) -> None:
    kept = files(tmp_path)
    kept.keep("DATABASE_URL", "postgresql://a")
    with pytest.raises(StackError, match="DATABASE_URL is set to something else already"):
        kept.keep("DATABASE_URL", "postgresql://b")
    assert kept.get("DATABASE_URL") == "postgresql://a"
    kept.keep("DATABASE_URL", "postgresql://b", replaces=True)
    assert kept.get("DATABASE_URL") == "postgresql://b"


def test_an_empty_file_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "KEY_PEPPER").touch()
    with pytest.raises(StackError, match="KEY_PEPPER is empty"):
        files(tmp_path).ensure("KEY_PEPPER")


def test_a_weak_secret_of_somebodys_is_named(tmp_path: Path) -> None:
    found = files(tmp_path, SECRET_KEY="changeme").weak()
    assert [line.partition(":")[0] for line in found] == ["SECRET_KEY"]
    assert "changeme" not in found[0]


def test_new_secrets_differ_and_need_no_quoting() -> None:
    made = {secret() for _ in range(50)}
    assert len(made) == 50
    assert all(len(value) == 64 and value.replace("-", "").replace("_", "").isalnum() for value in made)
    assert set(OF_SERVICES) == {"SECRET_KEY", "KEY_PEPPER", "AUTH_SERVICE_KEY", "CORE_SERVICE_KEY"}
