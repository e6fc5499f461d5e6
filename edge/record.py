"""What is kept of a request: one access line, and metrics by route template."""

from common import json
from common.errors import timestamp
from common.logs import LineWriter
from common.metrics import HttpMetrics
from edge.exchange import Exchange


class Recorder:
    def __init__(self, metrics: HttpMetrics, lines: LineWriter) -> None:
        self._metrics = metrics
        self._lines = lines

    def record(self, exchange: Exchange) -> None:
        seconds = exchange.seconds()
        self._metrics.record(exchange.label, exchange.method, exchange.status, seconds)
        identity = exchange.caller.identity if exchange.caller else None
        line = {
            "time": timestamp(),
            "level": "info",
            "service": "edge",
            "event": "request",
            "request_id": exchange.request_id,
            "address": exchange.client.address,
            "method": exchange.method,
            "host": exchange.host,
            "path": exchange.path,
            "route": exchange.label,
            "status": exchange.status,
            "bytes": exchange.bytes_sent,
            "seconds": round(seconds, 6),
        }
        if identity is not None:
            line["user"] = identity.user
            line["org"] = identity.org
            if identity.key is not None:
                line["key"] = identity.key
        self._lines.write(json.dumps(line))
