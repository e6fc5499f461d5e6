"""The store of a host, against a real Redis and the Valkey of the wheels."""

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.embedded import valkey_program
from ops.setup import store
from ops.setup.machine import Machine
from tests.ops.stacks import free_ports, until
from tests.tools import tool

ONCE = Retry(NoBackoff(), 0)
PASSWORD = "a-password_of-the-store"
# What a distribution's file says, as far as it is in our way.
DISTRIBUTION = "bind 0.0.0.0\nport {port}\nmaxmemory-policy allkeys-lru\nsave 900 1\ndir {dir}\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "etc" / "redis").mkdir(parents=True)
    (tmp_path / "etc" / "redis" / "redis.conf").write_text(DISTRIBUTION.format(port=6379, dir=tmp_path))
    return Machine(tmp_path)


@pytest.fixture(params=["redis-server", "valkey-server"])
def port(request: pytest.FixtureRequest, machine: Machine) -> Iterator[int]:
    """Of a server that runs with the configuration as `gatehouse setup` leaves it."""
    program = tool("redis-server") if request.param == "redis-server" else valkey_program()
    [port] = free_ports(1)
    etc = machine.at("/etc/redis")
    (etc / "redis.conf").write_text(DISTRIBUTION.format(port=port, dir=machine.root))
    store.configure(machine, PASSWORD)
    for path in etc.iterdir():  # the files name each other by where they will be
        path.write_text(path.read_text().replace("/etc/redis", str(etc)))
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([program, etc / "redis.conf"], stdout=log, stderr=log)
        try:
            with redis.Redis(port=port, password=PASSWORD, retry=ONCE) as client:
                assert until(lambda: process.poll() is not None or answers(client), 10)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_the_store_is_private_and_forgets_no_limit(port: int) -> None:
    with redis.Redis(port=port, retry=ONCE) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis(port=port, password=PASSWORD) as client:
        assert client.ping() is True
        assert client.config_get("maxmemory*") | {"maxmemory": "268435456", "maxmemory-policy": "noeviction"} == (
            client.config_get("maxmemory*")
        )
        assert client.config_get("save") == {"save": ""}
        assert "0.0.0.0" not in client.config_get("bind")["bind"]
        assert client.info("memory")["maxmemory"] == 268435456


def test_keys_of_somebody_are_seen_before_their_server_is_taken() -> None:
    [port] = free_ports(1)
    assert store.keys(port) == 0
    process = subprocess.Popen([valkey_program(), "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, retry=ONCE) as client:
            assert until(lambda: answers(client), 10)
            client.set("theirs", "1")
        assert store.keys(port) == 1
    finally:
        process.terminate()
        process.wait(10)


def test_a_client_cannot_empty_stop_or_change_it(port: int) -> None:
    with redis.Redis(port=port, password=PASSWORD) as client:
        for words in (("FLUSHALL",), ("CONFIG", "SET", "save", "1 1"), ("SHUTDOWN",), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)


def test_the_servers_files_hold_no_password_and_a_second_time_nothing_changes(machine: Machine) -> None:
    assert store.configure(machine, PASSWORD) != []
    texts = {path.name: path.read_text() for path in machine.at("/etc/redis").iterdir()}
    assert store.configure(machine, PASSWORD) == []
    assert {path.name: path.read_text() for path in machine.at("/etc/redis").iterdir()} == texts
    assert not [name for name, text in texts.items() if PASSWORD in text]
    assert hashlib.sha256(PASSWORD.encode()).hexdigest() in texts["gatehouse-user.conf"]
    assert texts["redis.conf"].startswith(DISTRIBUTION.format(port=6379, dir=machine.root))
    assert machine.at("/etc/redis/gatehouse-user.conf").stat().st_mode & 0o777 == 0o640
    assert store.url(machine, PASSWORD) == f"redis://:{PASSWORD}@127.0.0.1:6379/0"


def test_somebodys_store_is_not_taken_over(machine: Machine) -> None:
    assert store.fault(machine) is None
    main = machine.at("/etc/redis/redis.conf")
    main.write_text(main.read_text() + "requirepass theirs\n")
    assert "somebody's" in (store.fault(machine) or "")
    main.unlink()
    assert "apt-get install redis-server" in (store.fault(machine) or "")
