"""Metrics: counted by template, rendered as Prometheus reads them."""

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from common.metrics import HttpMetrics, render, snapshot


def test_requests_and_seconds_are_counted_by_template() -> None:
    metrics = HttpMetrics("core")
    for status, seconds in ((200, 0.002), (200, 0.2), (404, 0.002)):
        metrics.record("/x/{id}", "GET", status, seconds)
    text = render(snapshot(metrics.registry))
    assert 'http_requests_total{service="core",route="/x/{id}",method="GET",status="200"} 2.0' in text
    assert (
        'http_request_seconds_bucket{service="core",route="/x/{id}",method="GET",status="200",le="0.0025"} 1.0' in text
    )
    assert 'http_request_seconds_count{service="core",route="/x/{id}",method="GET",status="200"} 2.0' in text


def test_rendering_is_what_a_prometheus_parser_reads() -> None:
    registry = CollectorRegistry()
    Gauge("odd", "With a \\ in it.", ("name",), registry=registry).labels('quote " back \\ line \n end').set(1.5)
    metrics = HttpMetrics("core")
    metrics.record("/x", "GET", 200, 0.1)
    families = {
        family.name: family
        for family in text_string_to_metric_families(render([*snapshot(registry), *snapshot(metrics.registry)]))
    }
    (sample,) = families["odd"].samples
    assert (sample.labels["name"], sample.value) == ('quote " back \\ line \n end', 1.5)
    assert families["http_requests"].type == "counter"
    assert families["http_request_seconds"].type == "histogram"
