"""The first admin of a production database is made once and shown once; a database that is away is waited for."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli.setup import command
from ops.migrate.waiting import wait_for_database
from ops.setup.admin import wait_until_ready
from ops.setup.secret_files import secret
from ops.stack.errors import StackError
from tests.ops.stacks import free_ports


@pytest.fixture
def production(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "env").write_text("ENV=production\nADMIN_EMAIL=first@example.com\n")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "AUTH_DATABASE_URL").write_text(database_url)
    (tmp_path / "secrets" / "KEY_PEPPER").write_text(secret())
    monkeypatch.setenv("GATEHOUSE_VAR", str(tmp_path))
    monkeypatch.setenv("GATEHOUSE_ENV_FILE", str(tmp_path / "env"))


@pytest.mark.usefixtures("production")
def test_the_first_admin_is_shown_once(tmp_path: Path) -> None:
    made = json.loads(CliRunner().invoke(command, ["admin", "--json"], catch_exceptions=False).output)
    assert made["email"] == "first@example.com"
    assert made["api_key"].startswith("sk_live_")
    again = CliRunner().invoke(command, ["admin"], catch_exceptions=False)
    assert again.exit_code == 0
    assert "no admin was made" in again.output
    assert not (tmp_path / "gatehouse.json").exists()


@pytest.mark.usefixtures("production")
def test_an_address_that_is_none_is_refused() -> None:
    refused = CliRunner().invoke(command, ["admin", "--email", "nobody"])
    assert isinstance(refused.exception, StackError)
    assert "--email: 'nobody'" in str(refused.exception)


def test_a_stack_that_does_not_get_ready_is_told_with_what_to_look_at() -> None:
    [port] = free_ports(1)
    with pytest.raises(StackError, match=r"nothing answers\).*journalctl"):
        wait_until_ready(f"http://127.0.0.1:{port}", 0)


@contextmanager
def refusing(codes: list[bytes]) -> Iterator[str]:
    """A PostgreSQL that refuses each connection with the next SQLSTATE. Protocol: PostgreSQL documentation, 55.7."""

    def serve() -> None:
        for code in codes:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                fields = b"SFATAL\0VFATAL\0C" + code + b"\0Mnot now\0\0"
                connection.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"postgresql://u:p@127.0.0.1:{server.getsockname()[1]}/x?sslmode=disable"
        thread.join(10)
        assert not thread.is_alive()


def test_a_starting_database_is_waited_for_and_a_wrong_password_is_not() -> None:
    said: list[str] = []
    with refusing([b"57P03", b"53300", b"28P01"]) as url:
        wait_for_database(url, said.append, poll_seconds=0)
    assert said == ["waiting for the database: not now"]  # once, not at each try


def test_a_database_that_is_away_is_waited_for(postgres_dsn: str) -> None:
    [port] = free_ports(1)

    def begin(_sentence: str) -> None:
        threading.Thread(target=listen, daemon=True).start()

    def listen() -> None:
        with socket.create_server(("127.0.0.1", port)) as server:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                fields = b"SFATAL\0VFATAL\0C28P01\0Mno\0\0"
                connection.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

    wait_for_database(f"postgresql://u:p@127.0.0.1:{port}/x?sslmode=disable", begin, poll_seconds=0.05)
    wait_for_database(postgres_dsn, begin)
