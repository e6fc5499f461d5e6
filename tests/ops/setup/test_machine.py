"""What changes a machine: whole, closed, and by no way that somebody else laid."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli.setup_parts import database_command
from ops.setup.machine import Machine
from ops.stack.errors import StackError

SOMEBODY = 54321


@pytest.fixture
def var(tmp_path: Path) -> Path:
    """A folder that root sets up and a service owns."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    folder = tmp_path / "var"
    folder.mkdir()
    (tmp_path / "etc").mkdir(mode=0o755)
    os.chown(folder, SOMEBODY, SOMEBODY)
    return folder


def test_a_link_that_the_services_made_is_not_followed(var: Path, tmp_path: Path) -> None:
    (var / "secrets").symlink_to(tmp_path / "etc")
    machine = Machine(tmp_path)
    with pytest.raises(StackError, match="is a link"):
        machine.directory("/var/secrets", 0o700)
    with pytest.raises(StackError, match="is a link"):
        machine.write("/var/secrets/SECRET_KEY", "x", 0o600)
    assert (tmp_path / "etc").stat().st_mode & 0o777 == 0o755
    assert list((tmp_path / "etc").iterdir()) == []


def test_a_link_that_root_made_is_followed(var: Path, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(var)
    assert Machine(tmp_path).directory("/here", 0o700)
    assert Machine(tmp_path).write("/here/file", "x", 0o600)
    assert (var / "file").read_text() == "x"
    assert var.stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_a_link_is_replaced_and_not_written_through(var: Path, tmp_path: Path) -> None:
    (tmp_path / "etc" / "shadow").write_text("root")
    (var / "edge.log").symlink_to(tmp_path / "etc" / "shadow")
    (var / ".edge.log.new").symlink_to(tmp_path / "etc" / "shadow")
    assert Machine(tmp_path).write("/var/edge.log", "", 0o600)
    assert (tmp_path / "etc" / "shadow").read_text() == "root"
    assert not (var / "edge.log").is_symlink()


def test_only_showing_says_what_would_be_done(tmp_path: Path) -> None:
    machine = Machine(tmp_path, only_shows=True)
    assert machine.directory("/new/folder")
    assert machine.write("/new/file", "x")
    assert list(tmp_path.iterdir()) == []


def test_secrets_that_root_makes_for_the_services_are_theirs(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (var.parent, *var.parent.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    monkeypatch.setenv("GATEHOUSE_VAR", str(var))
    words = ["--print-sql", "--with-passwords", "--admin-url", "postgresql://admin@db.example.com/postgres"]
    assert "CREATE ROLE" in CliRunner().invoke(database_command, words, catch_exceptions=False).output
    made = [*var.iterdir(), *(var / "secrets").iterdir()]
    assert "AUTH_DATABASE_URL" in {path.name for path in made}
    assert {path.stat().st_uid for path in made} == {SOMEBODY}
