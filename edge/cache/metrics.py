"""What the cache did, for /metrics."""

from collections.abc import Iterator
from dataclasses import asdict

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from edge.cache.caching import Caching


class CacheCollector(Collector):
    def __init__(self, caching: Caching) -> None:
        self._caching = caching

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("cache_requests", "Requests on routes with a cache.", labels=("outcome",))
        for outcome, count in asdict(self._caching.counts).items():
            requests.add_metric((outcome,), count)
        yield requests
        yield GaugeMetricFamily("cache_bytes", "Bytes of the answers kept.", value=self._caching.store.size)
        yield GaugeMetricFamily("cache_answers", "Answers kept.", value=len(self._caching.store))
