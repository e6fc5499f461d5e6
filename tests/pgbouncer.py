"""A real PgBouncer in front of a real PostgreSQL."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.servers import state_directory
from tests.tools import tool

NOBODY = 65534  # it refuses to run as root

CONFIGURATION = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = {mode}
log_connections = 0
log_disconnections = 0
default_pool_size = {size}
"""


@contextmanager
def pgbouncer(
    server_url: str, users: Mapping[str, str], *, mode: str = "transaction", size: int = 3, more: str = ""
) -> Iterator[str]:
    """`host:port` of a pooler with `size` server connections per user and database. `users` have these passwords.

    The user of `server_url` is known too; `more` are further lines of its configuration.
    """
    parts = urlsplit(server_url)
    users = {**users, str(parts.username): unquote(parts.password or "")}
    with state_directory() as var:
        folder = var.parent
        own_port = _free_port()
        lines = [f"{_quoted(name)} {_quoted(password)}\n" for name, password in users.items()]
        (folder / "users.txt").write_text("".join(lines))
        (folder / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                host=parts.hostname, port=parts.port, own_port=own_port, folder=folder, mode=mode, size=size
            )
            + more
        )
        with (folder / "pgbouncer.log").open("w+") as log:
            process = subprocess.Popen(
                [tool("pgbouncer"), folder / "pgbouncer.ini"],
                user=NOBODY if os.geteuid() == 0 else None,
                stdout=log,
                stderr=log,
            )
            try:
                _await_listening(own_port, process, folder / "pgbouncer.log")
                yield f"127.0.0.1:{own_port}"
            finally:
                process.terminate()
                process.wait(10)


def through(address: str, server_url: str, *, user: str | None = None, password: str = "") -> str:
    """`server_url` by way of the pooler, as another user where one is given."""
    parts = urlsplit(server_url)
    credentials = f"{user}:{password}" if user else parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{credentials}@{address}").geturl()


def _await_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise AssertionError(log.read_text())


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
