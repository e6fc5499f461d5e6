"""What the compose stack's one-shots write, and that real servers take it."""

import json
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from ops.docker import setup as one_shot
from ops.docker.bootstrap import bootstrap
from ops.embedded.binaries import valkey_program
from ops.secrets import NAMES
from ops.stack import configuration
from ops.stack.errors import StackError
from tests.servers import servers as wanted_servers


@pytest.fixture
def servers(tmp_path: Path) -> Path:
    folder = tmp_path / "servers"
    folder.mkdir()
    return folder


def found(tmp_path: Path, **environ: str) -> configuration.Configuration:
    nothing = tmp_path / "no.env"
    return configuration.read(
        {"GATEHOUSE_VAR": str(tmp_path / "var"), "GATEHOUSE_ENV_FILE": str(nothing), "DATABASE_URL": "", **environ}
    )


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_setup_makes_secrets_once(tmp_path: Path, servers: Path) -> None:
    one_shot.setup(found(tmp_path), servers)
    made, told = contents(tmp_path / "var" / "secrets"), contents(servers)
    assert set(made) == {*NAMES, "MIGRATE_DATABASE_URL", "REDIS_URL"}
    assert {mode(path) for path in (tmp_path / "var" / "secrets").iterdir()} == {0o600}
    assert mode(servers / "postgres-password") == 0o600
    one_shot.setup(found(tmp_path), servers)
    assert (contents(tmp_path / "var" / "secrets"), contents(servers)) == (made, told)


def test_setup_tells_the_servers_nothing_but_their_own_passwords(tmp_path: Path, servers: Path) -> None:
    one_shot.setup(found(tmp_path), servers)
    secrets = {name: value.strip() for name, value in contents(tmp_path / "var" / "secrets").items()}
    told = "".join(contents(servers).values())
    assert {name for name in NAMES if secrets[name] in told} == {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert (servers / "postgres-password").read_text().strip() == secrets["POSTGRES_PASSWORD"]


def test_setup_names_what_it_cannot_use(
    tmp_path: Path, servers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one_shot.setup(found(tmp_path), servers)
    (tmp_path / "var" / "secrets" / "SECRET_KEY").chmod(0o644)
    with pytest.raises(StackError, match="SECRET_KEY is open to other users"):
        one_shot.setup(found(tmp_path), servers)
    monkeypatch.setenv("GATEHOUSE_VAR", str(tmp_path / "var"))
    assert one_shot.main() == 1
    assert "setup: " in capsys.readouterr().err


def test_valkey_takes_the_configuration_and_wants_the_password(tmp_path: Path, servers: Path) -> None:
    awkward = "a b\"c\\d'e#f$g"
    one_shot.setup(found(tmp_path, REDIS_PASSWORD=awkward), servers)
    with running_valkey(servers / "valkey.conf", tmp_path) as port:
        with redis.Redis(port=port, password=awkward) as client:
            assert client.ping()
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            plain.sendall((servers / "valkey-ping").read_bytes().replace(b"\n", b"\r\n"))
            with plain.makefile("rb") as answers:
                assert [answers.readline(), answers.readline()] == [b"+OK\r\n", b"+PONG\r\n"]


@contextmanager
def running_valkey(config: Path, folder: Path) -> Iterator[int]:
    """The port of a server that runs on `config`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [valkey_program(wanted_servers()), config, "--port", str(port), "--dir", folder, "--bind", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until_listening(port, process)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def until_listening(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probing:
            if probing.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError(f"Valkey does not listen on {port}: exit status {process.poll()}")


def test_bootstrap_prepares_the_database_and_keeps_the_first_admin_out_of_the_log(
    tmp_path: Path, servers: Path, empty_database_url: str
) -> None:
    one_shot.setup(found(tmp_path), servers)
    var = tmp_path / "var"
    configured = found(tmp_path, MIGRATE_DATABASE_URL=empty_database_url)
    try:
        first = bootstrap(configured, "http://localhost:8080")
        for service in ("AUTH", "CORE"):
            url = (var / "secrets" / f"{service}_DATABASE_URL").read_text().strip()
            with psycopg.connect(url) as connection:
                assert connection.info.user.endswith(service.lower())
        known = json.loads((var / "gatehouse.json").read_text())
        assert mode(var / "gatehouse.json") == 0o600
        assert set(known) == {"url", "admin", "api_key"}
        said = "\n".join(first)
        assert str(var / "gatehouse.json") in said
        assert known["admin"]["password"] not in said
        assert known["api_key"] not in said

        second = bootstrap(configured, "http://localhost:9090")
        assert second[0] == "migrations: up to date"
        assert json.loads((var / "gatehouse.json").read_text()) == {**known, "url": "http://localhost:9090"}
    finally:
        drop_roles(empty_database_url)


def drop_roles(owner_url: str) -> None:
    """Roles belong to the whole server; they are named after the database."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        for service in ("auth", "core"):
            role = f"{connection.info.dbname}_{service}"
            connection.execute(f'DROP OWNED BY "{role}"')
            connection.execute(f'DROP ROLE "{role}"')


def test_bootstrap_before_setup_says_so(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="MIGRATE_DATABASE_URL must be set"):
        bootstrap(found(tmp_path), "http://localhost:8080")
