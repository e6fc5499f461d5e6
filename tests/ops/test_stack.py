"""The whole stack, started as a person starts it: real processes, real servers, one state directory."""

import json
import os
import re
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.ops.stacks import COMMAND, Stack, until
from tests.servers import state_directory

Record = Callable[[str, object], None]
MEMORY_BYTES_MAX = 250_000_000
# Measuring coverage in seven processes at once costs about as much again.
LATER_SECONDS_MAX = 16 if "COVERAGE_PROCESS_CONFIG" in os.environ else 8


@pytest.fixture(scope="module")
def first() -> Iterator[tuple[Stack, str, float]]:
    """A stack that has been started in an empty directory, what it said, and how long it took."""
    with state_directory() as var:
        stack = Stack(var)
        try:
            seconds = stack.up()
            until(lambda: stack.output[-1:] == ["\n"], 5)
            yield stack, stack.text, seconds
        finally:
            if stack.is_running():
                stack.interrupt()
            left = stack.processes()
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            assert not left


@pytest.fixture
def stack(first: tuple[Stack, str, float]) -> Stack:
    """The same, running: a test before this one may have stopped it."""
    if not first[0].is_running():
        first[0].up()
    return first[0]


def entry(status: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in (*status["services"], *status["servers"]) if entry["name"] == name)


def test_the_first_start_shows_all_that_a_newcomer_needs(first: tuple[Stack, str, float]) -> None:
    stack, said, seconds = first
    known = stack.credentials()
    assert seconds < 60
    for shown in (stack.url, known["admin"]["email"], known["admin"]["password"], known["api_key"]):
        assert shown in said
    for title in ("Settings and secrets", "PostgreSQL", "Valkey", "Migrations", "First admin", "Services"):
        assert re.search(rf"^{title}: .* s\)$", said, re.MULTILINE)
    assert known["admin"]["email"] == "admin@gatehouse.local"
    assert known["url"] == stack.url


def test_the_curl_line_answers_200_as_it_is(first: tuple[Stack, str, float]) -> None:
    _, said, _ = first
    lines = [line for line in said.splitlines() if line.startswith("curl ")]
    assert len(lines) == 1
    done = subprocess.run(
        ["bash", "-c", f"{lines[0]} -s -w '%{{http_code}}' -o /dev/null"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "200"


def test_what_opens_the_stack_is_closed_to_others(stack: Stack) -> None:
    for name in ("gatehouse.json", "run/control.sock", "logs/edge.log", "logs/gatehouse.log"):
        assert stat.S_IMODE((stack.var / name).stat().st_mode) & 0o077 == 0
    log = (stack.var / "logs" / "gatehouse.log").read_text()
    known = stack.credentials()
    assert known["api_key"] not in log
    assert known["admin"]["password"] not in log


def test_the_three_services_idle_within_their_memory(stack: Stack, record_property: Record) -> None:
    status = stack.status()
    sizes = {service["name"]: service["memory_bytes"] for service in status["services"]}
    record_property("pss_bytes", sizes)
    assert all(size > 10_000_000 for size in sizes.values())
    assert status["memory_bytes"] == sum(sizes.values()) < MEMORY_BYTES_MAX


def test_status_tells_what_runs(stack: Stack) -> None:
    status = json.loads(stack.gatehouse("status", "--json").stdout)
    assert status["ready"] is True
    assert status["readiness"] == "ready"
    assert stack.process
    assert status["pid"] == stack.process.pid
    assert [service["name"] for service in status["services"]] == ["edge", "auth", "core"]
    assert [server["title"] for server in status["servers"]] == ["PostgreSQL", "Valkey"]
    for each in (*status["services"], *status["servers"]):
        assert each["state"] == "ready"
        assert each["pid"] in stack.processes()
        assert each["uptime_seconds"] > 0
    shown = stack.gatehouse("status")
    assert shown.returncode == 0
    assert stack.url in shown.stdout
    assert re.search(r"^auth +ready +\d+ .* MB +127\.0\.0\.1:\d+ *$", shown.stdout, re.MULTILINE)


def test_a_second_start_over_the_same_state_is_refused_in_one_sentence(stack: Stack) -> None:
    for words in (["up"], ["up", "--detach"]):
        refused = stack.gatehouse(*words)
        assert refused.returncode == 1
        assert re.fullmatch(
            rf"error: a stack over {stack.var} already runs \(pid \d+\); .*\n", refused.stderr.replace("\r", "")
        )
    assert stack.status()["ready"]


def test_a_taken_port_is_named_with_its_setting_and_nothing_is_left(stack: Stack) -> None:
    with state_directory() as var:
        other = Stack(var, CORE_PORT=str(stack.ports["CORE_PORT"]), EDGE_PORT=str(stack.ports["EDGE_PORT"]))
        refused = other.gatehouse("up")
        assert refused.returncode == 1
        assert refused.stderr.splitlines() == [
            f"error: {name}: port {stack.ports[setting]} on 127.0.0.1 is already in use; set {setting} to another"
            for name, setting in (("edge", "EDGE_PORT"), ("core", "CORE_PORT"))
        ]
        assert other.processes() == {}
        assert not (var / "pg").exists()


def test_a_request_is_found_in_the_logs_of_every_service_it_passed(stack: Stack) -> None:
    stack.call("GET", "/api/v1/expenses?per_page=1")
    log = stack.var / "logs" / "edge.log"
    assert until(lambda: '"path":"/api/v1/expenses"' in log.read_text(), 5)
    request = json.loads([line for line in log.read_text().splitlines() if "/api/v1/expenses" in line][-1])[
        "request_id"
    ]
    found = stack.gatehouse("logs", "--request", request, "--json")
    assert found.returncode == 0
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert {line["service"] for line in lines} == {"edge", "core"}
    assert {line["request_id"] for line in lines} == {request}
    readable = stack.gatehouse("logs", "edge", "--request", request).stdout
    assert re.search(rf"edge +GET /api/v1/expenses 200 \d+\.\d ms .*{request}$", readable, re.MULTILINE)


def test_logs_are_merged_and_cut_to_the_last_lines(stack: Stack) -> None:
    done = stack.gatehouse("logs", "-n", "20", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 20
    assert [line["time"] for line in lines if "time" in line] == sorted(
        line["time"] for line in lines if "time" in line
    )
    assert {
        json.loads(line)["service"] for line in stack.gatehouse("logs", "valkey", "--json").stdout.splitlines()
    } == {"valkey"}


def test_followed_logs_show_a_request_that_comes_later(stack: Stack) -> None:
    follower = subprocess.Popen(
        [*COMMAND, "logs", "edge", "-f", "-n", "0"],
        env={**stack.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.extend(iter(follower.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        assert until(lambda: bool(stack.call("GET", "/api/v1/me")) and any("/api/v1/me" in line for line in seen), 10)
    finally:
        follower.terminate()
        status = follower.wait(10)
        reader.join(5)
        follower.stdout.close()
    assert status == 0


def test_doctor_finds_nothing_wrong_with_a_running_stack(stack: Stack) -> None:
    done = stack.gatehouse("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0
    assert {finding["state"] for finding in findings.values()} <= {"ok", "warn"}
    assert {"Python", "Packages", "Ports", "Database", "Migrations", "Store", "Services", "Clock"} <= findings.keys()


def test_doctor_names_what_is_wrong_and_what_to_do(stack: Stack) -> None:
    secret = stack.var / "secrets" / "SECRET_KEY"
    secret.chmod(0o644)
    try:
        done = stack.gatehouse("doctor", DATABASE_URL="postgresql://a:b@127.0.0.1:9/x")
    finally:
        secret.chmod(0o600)
    assert done.returncode == 1
    assert f"{secret} is open to other users (mode 0644)" in done.stdout
    assert re.search("✗ Database +127.0.0.1:9: Connection refused", done.stdout)
    assert "→ check DATABASE_URL and that the server runs" in done.stdout


def test_migrate_on_a_running_stack_has_nothing_to_do(stack: Stack) -> None:
    done = stack.gatehouse("migrate", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"applied": [], "kept": []})


def test_top_shows_what_the_edge_did_just_now(stack: Stack) -> None:
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.02):
            with suppress(HTTPError):  # 404 is an answer too
                urlopen(f"{stack.url}/api/nothing-of-the-kind", timeout=5).close()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        figures = json.loads(stack.gatehouse("top", "--json").stdout)
        page = stack.gatehouse("top")  # no terminal: one page
    finally:
        ended.set()
        asking.join(10)
    assert figures["errors_4xx_per_second"] > 0
    assert [row["route"] for row in figures["routes"]] == ["unmatched"]
    assert {row["upstream"] for row in figures["upstreams"]} == {"auth", "core"}
    assert [one["state"] for one in figures["workers"]] == ["ready"]
    assert page.returncode == 0
    assert re.search(r"^unmatched +GET +[1-9]", page.stdout, re.MULTILINE)


def test_restart_replaces_the_workers_and_loses_no_request(stack: Stack) -> None:
    before = entry(stack.status(), "core")
    ended = threading.Event()
    failures: list[str] = []

    def ask() -> None:
        while not ended.is_set():
            with urlopen(f"{stack.url}/health", timeout=5) as response:
                if response.status != 200:
                    failures.append(str(response.status))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        done = stack.gatehouse("restart", "--json")
    finally:
        ended.set()
        asking.join(10)
    assert json.loads(done.stdout) == {"reloaded": ["edge", "auth", "core"]}
    assert failures == []
    after = entry(stack.status(), "core")
    assert after["pid"] == before["pid"]
    assert set(after["pids"]) - set(before["pids"])


def test_a_refused_restart_keeps_the_old_workers_and_says_why(stack: Stack) -> None:
    limit = stack.var / "secrets" / "LIMIT_AUTH"
    limit.touch(0o600)
    limit.write_text("nonsense")
    try:
        refused = stack.gatehouse("restart", "edge")
    finally:
        limit.unlink()
    assert refused.returncode == 1
    assert "LIMIT_AUTH" in refused.stderr
    assert stack.status()["ready"]


def test_a_refused_reload_names_every_fault_of_every_service_and_changes_none(stack: Stack) -> None:
    def pids() -> set[int]:
        return {pid for name in ("edge", "auth", "core") for pid in entry(stack.status(), name)["pids"]}

    before = pids()
    faulty = {"LIMIT_AUTH": "nonsense", "TRUSTED_PROXIES": "somebody", "MODULES": "nowhere.at.all"}
    files = [stack.var / "secrets" / name for name in faulty]
    for file, text in zip(files, faulty.values(), strict=True):
        file.touch(0o600)
        file.write_text(text)
    try:
        refused = stack.gatehouse("reload")
    finally:
        for file in files:
            file.unlink()
    assert refused.returncode == 1
    assert all(name in refused.stderr for name in faulty)
    assert pids() <= before, "some may be leaving, none has come"


def test_a_reload_brings_a_changed_setting_into_effect(stack: Stack) -> None:
    limit = stack.var / "secrets" / "LIMIT_GENERAL"
    limit.touch(0o600)
    limit.write_text("7777/60")
    try:
        done = stack.gatehouse("reload", "edge", "--json")
        key = stack.credentials()["api_key"]
        request = Request(f"{stack.url}/api/v1/me", headers={"Authorization": f"Bearer {key}"})
        with urlopen(request, timeout=5) as response:
            assert response.headers["X-RateLimit-Limit"] == "7777"
    finally:
        limit.unlink()
    assert (done.returncode, json.loads(done.stdout)) == (0, {"reloaded": ["edge"]})


def test_a_killed_service_is_started_again_and_said_so(stack: Stack) -> None:
    before = entry(stack.status(), "auth")
    os.kill(before["pid"], signal.SIGKILL)
    stack.wait_for_output(r"^auth ended \(killed by SIGKILL\); starting it again in [\d.]+ s$", 10)
    stack.wait_for_output(r"^auth is back$", 30)
    after = entry(stack.status(), "auth")
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1
    assert until(lambda: stack.status()["ready"], 10)


@pytest.mark.parametrize(("name", "title"), [("valkey", "Valkey"), ("pg", "PostgreSQL")])
def test_a_killed_server_is_started_again_on_its_port(stack: Stack, name: str, title: str) -> None:
    before = entry(stack.status(), name)
    os.kill(before["pid"], signal.SIGKILL)
    stack.wait_for_output(rf"^{title} is back on port \d+$", 30)
    after = entry(stack.status(), name)
    assert (after["address"], after["restarts"]) == (before["address"], before["restarts"] + 1)
    assert until(lambda: stack.status()["readiness"] == "ready", 20)


def test_ctrl_c_ends_everything_within_10_seconds(stack: Stack) -> None:
    for server in stack.status()["servers"]:
        os.kill(server["pid"], signal.SIGSTOP)  # even what somebody has frozen
    assert stack.interrupt() < 10
    assert stack.processes() == {}
    assert stack.process
    assert stack.process.returncode == 0


def test_a_detached_stack_finds_its_data_and_goes_down(stack: Stack) -> None:
    category = stack.call("GET", "/api/v1/categories")["data"]["items"][0]["id"]
    expense = {"amount": "25.50", "date": "2025-11-20", "category_id": category, "description": "kept"}
    stack.call("POST", "/api/v1/expenses", expense)
    assert stack.interrupt(signal.SIGTERM) < 10

    done = stack.gatehouse("up", "--detach")
    assert done.returncode == 0, done.stderr
    assert stack.credentials()["admin"]["password"] not in done.stdout  # first run only
    assert f"in {stack.var}/gatehouse.json" in done.stdout
    kept = stack.call("GET", "/api/v1/expenses")["data"]["items"]
    assert [(row["amount"], row["description"]) for row in kept] == [("25.50", "kept")]

    down = stack.gatehouse("down", "--json")
    assert down.returncode == 0
    assert json.loads(down.stdout)["seconds"] < 10
    assert stack.processes() == {}
    assert stack.gatehouse("down").stdout == f"nothing is running over {stack.var}\n"


def test_a_killed_controller_leaves_nothing(stack: Stack) -> None:
    assert stack.process
    stack.process.kill()
    stack.process.wait(10)
    assert stack.is_gone(10), stack.processes()


def test_a_start_after_everything_was_killed_finds_its_data_within_8_seconds(
    stack: Stack, record_property: Record
) -> None:
    stack.kill_all()
    seconds = stack.up()
    record_property("ready_seconds", seconds)
    assert seconds < LATER_SECONDS_MAX
    assert stack.call("GET", "/api/v1/me")["data"]["user"]["email"] == "admin@gatehouse.local"
