"""A stand-in for a Sentry server: takes envelopes as the real one does and keeps what is in them."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Sentry:
    """`envelopes` are the bytes as they came, unpacked; `items` the headers and payloads in them, by arrival."""

    dsn: str = ""
    envelopes: list[bytes] = field(default_factory=list)
    items: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The payloads of one kind: `event` or `transaction`."""
        return [payload for found, payload in self.items if found == kind]

    def wait_for(self, kind: str, count: int, seconds: float = 10) -> list[dict[str, Any]]:
        """The payloads of a kind once there are so many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.of(kind)) >= count, seconds), (kind, self.items)
        return self.of(kind)

    def take(self, body: bytes) -> None:
        with self.arrived:
            self.envelopes.append(body)
            _, *lines = body.splitlines()
            for header, payload in zip(lines[::2], lines[1::2], strict=True):
                self.items.append((json.loads(header)["type"], json.loads(payload)))
            self.arrived.notify_all()


@contextmanager
def sentry() -> Iterator[Sentry]:
    """Listens on a free port while the block runs."""
    standing_in = Sentry()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/42/envelope/", self.path
            assert "sentry_key=public" in self.headers["X-Sentry-Auth"]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            standing_in.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    standing_in.dsn = f"http://public@127.0.0.1:{server.server_port}/42"
    try:
        yield standing_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
