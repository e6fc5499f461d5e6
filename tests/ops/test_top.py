"""`gatehouse top`: what happened between two looks, and a page of it."""

import io
from typing import Any

import pytest
from rich.console import Console

from common.metrics import HttpMetrics, snapshot
from ops.top.page import page
from ops.top.sample import Look, between, grown


def look(at: float, metrics: HttpMetrics, *workers: dict[str, Any]) -> Look:
    upstreams = [
        {
            "name": "core",
            "servers": [{"url": "http://core:1", "in_flight": 2, "idle": 5, "workers": {"healthy": 1, "ejected": 1}}],
        }
    ]
    return Look(at, snapshot(metrics.registry), workers, upstreams, 3)


def worker(pid: int, cpu_seconds: float, state: str = "ready") -> dict[str, Any]:
    told = {"worker": 0, "pid": pid, "state": state, "restarts": 0, "started_at": float(pid)}
    return {**told, "memory_bytes": 70_000_000, "cpu_seconds": cpu_seconds}


@pytest.fixture
def figures() -> dict[str, Any]:
    metrics = HttpMetrics("edge")
    for _ in range(1000):
        metrics.record("/old", "GET", 200, 30.0)  # before the first look: none of our business
    metrics.record("/a", "GET", 200, 0.004)
    before = look(100.0, metrics, worker(7, 1.0))
    for _ in range(30):
        metrics.record("/a", "GET", 200, 0.004)
    for status in (404, 500):
        metrics.record("/b", "POST", status, 0.2)
    metrics.in_flight = 4
    return between(before, look(102.0, metrics, worker(7, 1.5, "retiring"), worker(9, 0.4)))


def test_figures_are_of_the_time_between_the_looks(figures: dict[str, Any]) -> None:
    assert figures["requests_per_second"] == 16
    assert (figures["errors_4xx_per_second"], figures["errors_5xx_per_second"]) == (0.5, 0.5)
    assert [(row["route"], row["method"], row["requests_per_second"]) for row in figures["routes"]] == [
        ("/a", "GET", 15),
        ("/b", "POST", 1),
    ]
    assert 2.5 <= figures["routes"][0]["p50_ms"] <= 5
    assert 100 <= figures["routes"][1]["p99_ms"] <= 250
    assert (figures["in_flight"], figures["bans"]) == (4, 3)


def test_worker_that_has_just_come_has_no_share_of_a_core_yet(figures: dict[str, Any]) -> None:
    shown = [(one["pid"], one["state"], one["cpu_percent"]) for one in figures["workers"]]
    assert shown == [(7, "retiring", 25.0), (9, "ready", None)]


def test_counter_that_went_back_began_anew() -> None:
    def family(value: float) -> list[Any]:
        return [["c", "counter", "", [["c_total", [["a", "b"]], value]]], ["g", "gauge", "", [["g", [], value]]]]

    after = grown(family(10), family(4))
    assert [found[3][0][2] for found in after] == [4, 4]
    assert [found[3][0][2] for found in grown(family(10), family(14))] == [4, 14]


def test_page_fits_the_terminal_and_says_what_it_left_out(figures: dict[str, Any]) -> None:
    row = figures["routes"][0]
    figures["routes"] = [{**row, "route": f"/route/{number}"} for number in range(100)]
    console = Console(file=io.StringIO(), width=100, height=24, highlight=False)
    console.print(page(figures, 24))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= 24
    assert any("and 9" in line and "more" in line for line in lines)
    assert any("http://core:1" in line and "healthy (1), ejected (1)" in line for line in lines)


def test_figures_of_several_servers_stand_beside_none_of_them(figures: dict[str, Any]) -> None:
    one = figures["upstreams"][0]
    one["requests_per_second"] = 77
    one["servers"] = [{**one["servers"][0], "url": f"http://core:{port}"} for port in (1, 2)]
    console = Console(file=io.StringIO(), width=100, highlight=False)
    console.print(page(figures))
    rows = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert [row[:3] for row in rows if "77" in row] == [["core", "all", "77"]]
    assert [row[0] for row in rows if row and row[0].startswith("http://core")] == ["http://core:1", "http://core:2"]
