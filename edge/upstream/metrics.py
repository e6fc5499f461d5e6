"""How each upstream answers, and how its servers are."""

from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from common.metrics import Series
from edge.upstream.upstream import Upstream


class UpstreamMetrics(Collector):
    """Requests and seconds until the head of the answer; servers are looked at when somebody asks."""

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
        yield from self._servers()

    def _servers(self) -> Iterator[Metric]:
        """As each worker sees them: a server that one worker leaves out may serve another."""
        labels = ("upstream", "server")
        connections = GaugeMetricFamily(
            "upstream_connections", "Open connections, by what they do.", labels=(*labels, "state")
        )
        states = GaugeMetricFamily("upstream_server_state", "Workers that see it so.", labels=(*labels, "state"))
        failures = CounterMetricFamily("upstream_server_failures", "Requests that failed there.", labels=labels)
        retries = CounterMetricFamily("upstream_server_retries", "Requests that had failed elsewhere.", labels=labels)
        ejections = CounterMetricFamily("upstream_server_ejections", "How often it was left out.", labels=labels)
        for name, upstream in self._upstreams.items():
            for server in upstream.state():
                connections.add_metric((name, server.url, "in_use"), server.in_flight)
                connections.add_metric((name, server.url, "idle"), server.idle)
                states.add_metric((name, server.url, server.state), 1)
                failures.add_metric((name, server.url), server.failures)
                retries.add_metric((name, server.url), server.retries)
                ejections.add_metric((name, server.url), server.ejections)
        yield from (connections, states, failures, retries, ejections)
