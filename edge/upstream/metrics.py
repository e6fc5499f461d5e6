"""How each upstream answers, and the connections to its servers."""

from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from common.metrics import Series
from edge.upstream.upstream import Upstream


class UpstreamMetrics(Collector):
    """Requests and seconds until the head of the answer; connections are read from the pools when somebody asks."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._series: dict[tuple[str, int], Series] = {}

    def record(self, upstream: str, status: int, seconds: float) -> None:
        series = self._series.get((upstream, status))
        if series is None:
            series = self._series[upstream, status] = Series()
        series.add(seconds)

    def collect(self) -> Iterator[Metric]:
        labels = ("upstream", "status")
        requests = CounterMetricFamily(
            "upstream_requests", "Requests sent, by what the client was told.", labels=labels
        )
        durations = HistogramMetricFamily("upstream_seconds", "Seconds until the answer began.", labels=labels)
        for (upstream, status), series in self._series.items():
            requests.add_metric((upstream, str(status)), float(series.count))
            durations.add_metric((upstream, str(status)), series.buckets(), series.seconds)
        yield requests
        yield durations
        yield self._connections()

    def _connections(self) -> Metric:
        labels = ("upstream", "server", "state")
        connections = GaugeMetricFamily("upstream_connections", "Open connections, by what they do.", labels=labels)
        for name, upstream in self._upstreams.items():
            for pool in upstream.pools:
                connections.add_metric((name, pool.url, "in_use"), pool.in_flight)
                connections.add_metric((name, pool.url, "idle"), pool.idle)
        return connections
