"""A real cluster for tests: three nodes of the server that everything else uses."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Connection

from common.limits.cluster import SLOTS
from tests.store_server import Server

THIRDS = ((0, 5460), (5461, 10922), (10923, SLOTS - 1))


class Nodes:
    """Three masters with a third of the slots each; more may join. They keep their ports over a restart."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.servers: list[Server] = []
        self._bus_ports: list[int] = []

    def start(self) -> None:
        for first, last in THIRDS:
            self.add()
            self.ask(-1, "CLUSTER", "ADDSLOTSRANGE", first, last)
            self.ask(-1, "CLUSTER", "SET-CONFIG-EPOCH", len(self.servers))
        self.meet()

    def add(self) -> None:
        directory = self._directory / str(len(self.servers))
        directory.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._bus_ports.append(probe.getsockname()[1])
        options = ("--cluster-enabled", "yes", "--cluster-port", str(self._bus_ports[-1]))
        options += ("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0")
        server = Server(directory, *options)
        server.start()
        self.servers.append(server)

    def meet(self) -> None:
        """Everybody knows everybody, and where the slots are."""
        for server, bus in zip(self.servers[1:], self._bus_ports[1:], strict=True):
            self.ask(0, "CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        known = f"cluster_known_nodes:{len(self.servers)}\r"
        until(lambda: all(known in self.info(i) for i in range(len(self.servers))))
        until(lambda: all("cluster_state:ok" in self.info(i) for i in range(len(self.servers))))
        until(lambda: all(self.slots_seen(i) == SLOTS for i in range(len(self.servers))))

    def slots_seen(self, index: int) -> int:
        return sum(last - first + 1 for first, last, *_ in self.ask(index, "CLUSTER", "SLOTS"))

    def info(self, index: int) -> str:
        return str(self.ask(index, "CLUSTER", "INFO"))

    def ask(self, index: int, *command: Any) -> Any:
        """The reply as the node sent it."""
        connection = Connection("127.0.0.1", self.servers[index].port, decode_responses=True, socket_timeout=10)
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            connection.disconnect()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
