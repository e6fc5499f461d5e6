"""Adding up families."""

from typing import Any

from common.supervisor.metrics import cumulative, merge


def family(kind: str, *samples: Any, name: str = "requests") -> list[Any]:
    return [name, kind, "Help.", [list(sample) for sample in samples]]


def test_equal_samples_are_added_and_others_kept() -> None:
    one = [family("counter", ["requests_total", [["route", "/a"]], 2], ["requests_total", [["route", "/b"]], 1])]
    two = [family("counter", ["requests_total", [["route", "/a"]], 3])]
    assert merge([one, two]) == [
        family("counter", ["requests_total", [["route", "/a"]], 5], ["requests_total", [["route", "/b"]], 1])
    ]


def test_order_of_labels_does_not_matter() -> None:
    one = [family("gauge", ["up", [["a", "1"], ["b", "2"]], 1])]
    two = [family("gauge", ["up", [["b", "2"], ["a", "1"]], 1])]
    assert merge([one, two]) == [family("gauge", ["up", [["a", "1"], ["b", "2"]], 2])]


def test_buckets_are_told_apart_from_sums() -> None:
    histogram = family("histogram", ["s_bucket", [["le", "+Inf"]], 1], ["s_count", [], 1], ["s_sum", [], 0.5])
    assert [sample[2] for sample in merge([[histogram], [histogram]])[0][3]] == [2, 2, 1.0]


def test_merging_leaves_its_input_alone() -> None:
    snapshot = [family("counter", ["requests_total", [], 1])]
    merge([snapshot, snapshot])
    assert snapshot == [family("counter", ["requests_total", [], 1])]


def test_only_what_grows_outlives_its_worker() -> None:
    families = [family(kind, name=kind) for kind in ("counter", "gauge", "histogram", "info", "summary")]
    assert [name for name, *_ in cumulative(families)] == ["counter", "histogram", "summary"]
