"""How much a worker has to do, as metrics: connections, the loop's lag, and what was refused for either."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from edge.policies.doors import Doors
from edge.policies.shedding import LAG_BUCKETS, Shedding

_BOUNDS = [*map(str, LAG_BUCKETS), "+Inf"]


class LoadCollector(Collector):
    def __init__(self, doors: Doors, shedding: Shedding) -> None:
        self._doors = doors
        self._shedding = shedding

    def collect(self) -> Iterator[Metric]:
        doors, shedding = self._doors, self._shedding
        yield GaugeMetricFamily("client_connections", "Client connections open.", value=doors.open)
        refused = CounterMetricFamily("client_connections_refused", "By the cap that was reached.", labels=("cap",))
        for cap, count in doors.refused.items():
            refused.add_metric((cap,), count)
        yield refused
        shed = CounterMetricFamily("shed", "Requests refused because there were too many.", labels=("sign",))
        for sign, count in shedding.shed.items():
            shed.add_metric((sign,), count)
        yield shed
        lag = HistogramMetricFamily("loop_lag_seconds", "How late the event loop was at each tick.")
        counts = accumulate(shedding.lag_counts)
        lag.add_metric((), [*zip(_BOUNDS, counts, strict=True)], shedding.lag_sum)
        yield lag
