"""The servers we run ourselves: real programs, in directories of the test's own."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.embedded import Postgres, ServerError, Valkey, postgres_programs, valkey_program
from ops.embedded.process import running_over, spawn, wait_until
from ops.embedded.server import Server
from tests.servers import CLUSTER_SECRETS

# A stack in a process of its own, as `gatehouse up` is one: starts both, says so, and waits to be killed.
PARENT = """
import sys, signal, json
from pathlib import Path
from ops.embedded import Postgres, Valkey
servers = [kind(Path(sys.argv[1]), json.loads(sys.argv[2]), shared=Path(sys.argv[3])) for kind in (Postgres, Valkey)]
for server in servers:
    server.start()
print(*(server.pid for server in servers), flush=True)
signal.pause()
"""


@pytest.fixture
def empty_place() -> Iterator[Path]:
    """A directory that every user may pass through: `place/var` is the state, `place/shared` stands for /var/lib."""
    with open_directory() as folder:
        yield folder


@pytest.fixture(scope="module")
def place(stopped_cluster: Path) -> Iterator[Path]:
    """The same with a PostgreSQL that has run before; every test leaves it stopped."""
    with open_directory() as folder:
        shutil.copytree(stopped_cluster, folder / "var" / "pg" / "data")
        yield folder


@contextmanager
def open_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gatehouse-tests-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def postgres(place: Path, **options: object) -> Postgres:
    return Postgres(place / "var", CLUSTER_SECRETS, durable=False, shared=place / "shared", **options)  # type: ignore[arg-type]


def valkey(place: Path, **options: object) -> Valkey:
    return Valkey(place / "var", CLUSTER_SECRETS, shared=place / "shared", **options)  # type: ignore[arg-type]


def remember(url: str, text: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS notes")
        connection.execute("CREATE TABLE notes (text text)")
        connection.execute("INSERT INTO notes VALUES (%s)", (text,))


def remembered(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM notes ORDER BY text")]


def port(place: Path) -> int:
    """Where the PostgreSQL of a stack elsewhere listens."""
    return int((place / "var" / "run" / "pg.port").read_text())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_start_finds_the_data_again_on_the_same_port(empty_place: Path) -> None:
    with Postgres(empty_place / "var", CLUSTER_SECRETS, shared=empty_place / "shared") as server:
        first = server.url
        remember(first, "kept")
    with postgres(empty_place) as server:
        assert server.url == first
        assert remembered(server.url) == ["kept"]


def test_stop_leaves_nothing_running_and_the_lock_free(place: Path) -> None:
    servers = postgres(place), valkey(place)
    for server in servers:
        server.start()
        assert server.alive()
        assert server.pid in running_over(server.data)
        server.stop()
        assert not server.alive()
        assert running_over(server.data) == []
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", server.port)) != 0
        server.stop()


def test_clients_that_hold_on_do_not_keep_the_servers_from_stopping(place: Path) -> None:
    with postgres(place) as server:
        busy = psycopg.connect(server.url)
        busy.execute("SELECT 1")
    assert running_over(server.data) == []
    busy.close()


def test_postgres_is_started_as_documented(place: Path) -> None:
    with postgres(place) as server, psycopg.connect(server.url) as connection:
        wanted = {
            "password_encryption": "scram-sha-256",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "TimeZone": "UTC",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
        }
        for name, value in wanted.items():
            assert connection.execute("SELECT current_setting(%s)", (name,)).fetchone() == (value,)
        methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        assert methods == [("scram-sha-256",)]


def test_valkey_is_started_as_documented(place: Path) -> None:
    with valkey(place) as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        wanted = {
            "maxmemory-policy": "noeviction",
            "maxmemory": str(256 << 20),
            "appendonly": "no",
            "bind": "127.0.0.1",
        }
        for name, value in wanted.items():
            assert client.config_get(name) == {name: value}


def test_a_wrong_password_and_none_are_refused(place: Path) -> None:
    with postgres(place) as database, valkey(place) as store:
        for password in ("wrong", ""):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(host="127.0.0.1", port=database.port, user="postgres", password=password)
        for password in ("wrong", None):
            client = redis.Redis(port=store.port, password=password, retry=Retry(NoBackoff(), 0))
            with client, pytest.raises(redis.AuthenticationError):
                client.ping()


def test_no_password_is_in_a_command_line_or_open_to_others(place: Path) -> None:
    with postgres(place) as database, valkey(place) as store:
        for server in (database, store):
            command = subprocess.run(
                ["ps", "-wwo", "args=", "-p", str(server.pid)], check=True, capture_output=True, text=True
            )
            assert str(server.data) in command.stdout
            assert not any(secret in command.stdout for secret in CLUSTER_SECRETS.values())
            assert mode(server.data) == 0o700
            assert mode(server.log_path) == 0o600
        assert mode(store.data / "valkey.conf") == 0o600
        assert not list((place / "var").rglob("password"))


def test_both_servers_die_with_a_killed_parent_and_the_next_start_finds_the_data(place: Path) -> None:
    with postgres(place) as database:
        remember(database.url, "killed parent")
    with stack_elsewhere(place) as (parent, pids):
        parent.kill()
        parent.wait(10)
        if sys.platform == "linux":
            assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10)
    with postgres(place) as database, valkey(place):
        assert remembered(database.url) == ["killed parent"]


def test_the_data_survives_a_kill_of_everything_at_once(place: Path) -> None:
    with stack_elsewhere(place) as (parent, pids):
        database = postgres(place)
        database.port = port(place)
        remember(database.url, "killed all")
        for pid in (*pids, parent.pid):
            os.kill(pid, signal.SIGKILL)
    with postgres(place) as database, valkey(place):
        assert remembered(database.url) == ["killed all"]


def test_a_killed_server_is_noticed_and_starts_again(place: Path) -> None:
    for server in (postgres(place), valkey(place)):
        with server:
            assert server.pid
            os.kill(server.pid, signal.SIGKILL)
            assert wait_until(lambda server=server: not server.alive(), 10)
            server.start()
            assert server.alive()


def test_a_server_left_behind_is_ended_and_its_data_found(place: Path) -> None:
    server = postgres(place)
    remember(server.start(), "before")
    server.stop()
    orphan = spawn(server._command(), owner=server.owner, death_signal=0)  # type: ignore[arg-type]
    pid_file = server.data / "postmaster.pid"
    assert wait_until(lambda: pid_file.exists() and "ready" in pid_file.read_text(), 30)
    assert orphan.pid in running_over(server.data)
    with server:
        assert orphan.wait(10) == 0
        assert remembered(server.url) == ["before"]


def test_a_stale_pid_file_that_names_a_living_process_is_no_obstacle(place: Path) -> None:
    server = postgres(place)
    server.start()
    server.stop()
    (server.data / "postmaster.pid").write_text(f"{os.getppid()}\n{server.data}\n0\n5432\n\n\n")
    with server:
        assert server.alive()


def test_half_a_cluster_of_a_crashed_first_start_is_made_anew(empty_place: Path) -> None:
    half = empty_place / "var" / "pg" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with postgres(empty_place) as server:
        remember(server.url, "works")
    assert not half.exists()


def test_a_second_stack_over_the_same_state_is_refused_in_one_sentence(place: Path) -> None:
    with stack_elsewhere(place) as (_, pids):
        for server in (postgres(place), valkey(place)):
            with pytest.raises(ServerError, match=rf"^{server.title} over .*/var already runs; stop that stack first$"):
                server.start()
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)


def test_another_port_is_taken_when_the_remembered_one_is_in_use(place: Path) -> None:
    for server in (postgres(place), valkey(place)):
        with server:
            before = server.port
        with socket.create_server(("127.0.0.1", before)), server:
            assert server.port != before


class Unlucky(Server):
    """Chooses a port that somebody takes before the server binds it; the second choice is free."""

    taken = 0

    def _choose_port(self) -> int:
        port, self.taken = self.taken, 0
        return port or super()._choose_port()


class UnluckyPostgres(Unlucky, Postgres):
    pass


class UnluckyValkey(Unlucky, Valkey):
    pass


@pytest.mark.parametrize("kind", [UnluckyPostgres, UnluckyValkey])
def test_losing_the_race_for_a_port_is_tried_again(place: Path, kind: type[Unlucky]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = kind(place / "var", CLUSTER_SECRETS, shared=place / "shared")
        server.taken = other.getsockname()[1]
        with server:
            assert server.port != other.getsockname()[1]


def test_data_of_another_version_is_one_sentence_and_nothing_is_left(place: Path) -> None:
    server = postgres(place)
    server.start()
    server.stop()
    written = (server.data / "PG_VERSION").read_text()
    (server.data / "PG_VERSION").write_text("14\n")
    with pytest.raises(ServerError, match=r"^PostgreSQL did not start: database files are incompatible with server"):
        server.start()
    assert running_over(server.data) == []
    (server.data / "PG_VERSION").write_text(written)


def test_a_platform_without_wheels_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.embedded.binaries.find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"^no embedded PostgreSQL for \S+; set DATABASE_URL$"):
        postgres_programs()
    with pytest.raises(ServerError, match=r"^no embedded Valkey for \S+; set REDIS_URL$"):
        valkey_program()


def test_a_machine_without_the_servers_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.embedded.binaries.SYSTEM_POSTGRES", ())
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(
        ServerError, match=r"^no PostgreSQL is installed on this machine; install it or set DATABASE_URL$"
    ):
        postgres_programs("system")
    with pytest.raises(ServerError, match=r"^no Valkey is installed on this machine; install it or set REDIS_URL$"):
        valkey_program("system")


def test_a_postgres_found_on_the_machine_is_started_the_same_way(empty_place: Path) -> None:
    try:
        postgres_programs("system")
    except ServerError as missing:
        pytest.skip(str(missing))
    with postgres(empty_place, servers="system") as server:
        remember(server.url, "works")


def test_a_passing_thread_may_not_start_servers(place: Path) -> None:
    failures: list[Exception] = []

    def start() -> None:
        try:
            valkey(place).start()
        except RuntimeError as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(10)
    assert "main thread" in str(failures[0])


@contextmanager
def stack_elsewhere(place: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A stack in a process of its own and the two servers' process ids; afterwards none of them runs."""
    words = [sys.executable, "-c", PARENT, str(place / "var"), json.dumps(CLUSTER_SECRETS), str(place / "shared")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        try:
            yield parent, pids
        finally:
            parent.kill()
    servers = postgres(place), valkey(place)
    assert wait_until(lambda: not any(running_over(server.data) for server in servers), 20)


def test_a_password_that_the_configuration_cannot_hold_is_refused_without_showing_it(empty_place: Path) -> None:
    with pytest.raises(ServerError, match=r"^REDIS_PASSWORD must not contain quotes") as refusal:
        Valkey(empty_place / "var", {"REDIS_PASSWORD": 'hidden"\nport 1'}, shared=empty_place / "shared").start()
    assert "hidden" not in str(refusal.value)


def test_a_state_that_cannot_be_made_is_one_sentence(empty_place: Path) -> None:
    (empty_place / "var").write_text("a file")
    with pytest.raises(ServerError, match=r"^Valkey cannot be started: .*: .*/var"):
        valkey(empty_place).start()
