"""The secrets a stack makes for itself."""

import stat
import threading
from pathlib import Path

import pytest

from ops import secrets


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_run_makes_long_secrets_that_only_we_can_read(tmp_path: Path) -> None:
    made = secrets.ensure(tmp_path, {})
    assert set(made) == set(secrets.NAMES)
    assert len(set(made.values())) == len(secrets.NAMES)
    assert all(len(value) >= 64 for value in made.values())
    assert mode(tmp_path / "secrets") == 0o700
    assert {mode(path) for path in (tmp_path / "secrets").iterdir()} == {0o600}
    assert {path.name for path in (tmp_path / "secrets").iterdir()} == set(secrets.NAMES)


def test_later_runs_find_the_same_secrets(tmp_path: Path) -> None:
    assert secrets.ensure(tmp_path, {}) == secrets.ensure(tmp_path, {})


def test_a_secret_of_the_environment_is_used_and_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "mounted"
    file.write_text("from-a-file\n")
    made = secrets.ensure(tmp_path, {"SECRET_KEY": "from-the-environment", "KEY_PEPPER_FILE": str(file)})
    assert (made["SECRET_KEY"], made["KEY_PEPPER"]) == ("from-the-environment", "from-a-file")
    assert not (tmp_path / "secrets" / "SECRET_KEY").exists()
    assert not (tmp_path / "secrets" / "KEY_PEPPER").exists()


def test_a_kept_secret_counts_before_dotenv_and_dotenv_before_a_new_one(tmp_path: Path) -> None:
    assert secrets.ensure(tmp_path, {}, dotenv={"SECRET_KEY": "theirs"})["SECRET_KEY"] == "theirs"
    kept = secrets.ensure(tmp_path, {})["SECRET_KEY"]
    assert secrets.ensure(tmp_path, {}, dotenv={"SECRET_KEY": "theirs"})["SECRET_KEY"] == kept


@pytest.mark.parametrize("opened", [0o640, 0o604, 0o644])
def test_a_secret_that_others_can_read_is_refused_by_name(tmp_path: Path, opened: int) -> None:
    value = secrets.ensure(tmp_path, {})["KEY_PEPPER"]
    path = tmp_path / "secrets" / "KEY_PEPPER"
    path.chmod(opened)
    with pytest.raises(secrets.SecretsError, match="KEY_PEPPER is open to other users") as refusal:
        secrets.ensure(tmp_path, {})
    assert value not in str(refusal.value)


def test_an_empty_secret_is_refused_and_not_replaced(tmp_path: Path) -> None:
    secrets.ensure(tmp_path, {})
    path = tmp_path / "secrets" / "SECRET_KEY"
    path.write_text("")
    with pytest.raises(secrets.SecretsError, match="SECRET_KEY is empty"):
        secrets.ensure(tmp_path, {})
    assert path.read_text() == ""


def test_a_missing_file_of_the_environment_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(secrets.SecretsError, match=r"^SECRET_KEY_FILE cannot be read: No such file"):
        secrets.ensure(tmp_path, {"SECRET_KEY_FILE": str(tmp_path / "absent")})


def test_starters_at_once_agree_on_the_secrets(tmp_path: Path) -> None:
    outcomes: list[dict[str, str]] = []
    together = threading.Barrier(8)

    def starter() -> None:
        together.wait(10)
        outcomes.append(secrets.ensure(tmp_path, {}))

    threads = [threading.Thread(target=starter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 8
    assert all(outcome == outcomes[0] for outcome in outcomes)
