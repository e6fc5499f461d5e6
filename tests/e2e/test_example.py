"""A service in another language, put behind the edge by what README.md says and shows, and by nothing else."""

import http.client
import json
import os
import re
import shutil
import subprocess
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack, StartStack, wait_until
from tests.e2e.readme import README, Step, require_answer, shown, steps, type_in
from tests.tools import tool

NODE = tool("node")
ROOT = README.parent
SECTION = "Your own service behind the edge"
FILE = "edge/routes.d/reports.toml"
THERE = "http://127.0.0.1:9000"
SERVED_SECONDS = 5.0
pytestmark = pytest.mark.timeout(180)

FreePorts = Callable[[int], list[int]]


class Service:
    """The example, on a port that stays its own over a restart."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._environ = {**os.environ, "PORT": str(port)}
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """As the section says, where `.env` has what it wrote there."""
        (key,) = re.findall(r"^REPORTS_KEY=(.+)$", (self._directory / ".env").read_text(), re.MULTILINE)
        (file,) = [step.command.removeprefix("node ") for step in starting() if step.command.startswith("node ")]
        self._process = subprocess.Popen(
            [NODE, ROOT / file],
            cwd=self._directory,
            env={**self._environ, "REPORTS_KEY": key},
        )
        wait_until(lambda: self._health() == 200, 30, "the example")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _health(self) -> int:
        with urllib.request.urlopen(f"{self.url}/health", timeout=5) as response:
            return int(response.status)


def starting() -> list[Step]:
    return [step for step in steps(SECTION) if not step.command.startswith("curl ")]


def calling() -> list[Step]:
    return [step for step in steps(SECTION) if step.command.startswith("curl ")]


def toml() -> str:
    (block,) = shown(SECTION, "toml")
    return block.text


@pytest.fixture(scope="module")
def stack(start_stack: StartStack, empty_directory: Path) -> Stack:
    """The shipped table, copied to where another file may be put beside it."""
    folder = empty_directory / "edge"
    (folder / "routes.d").mkdir(parents=True)
    shutil.copy(ROOT / "edge" / "routes.toml", folder)
    (empty_directory / ".env").touch()
    table = str(folder / "routes.toml")
    return start_stack(empty_directory, EDGE_ROUTES=table, LIMIT_GENERAL="5000/60")  # waiting is done by asking


@pytest.fixture(scope="module")
def service(stack: Stack, free_ports: FreePorts) -> Iterator[Service]:
    type_in([step for step in starting() if not step.command.startswith("node ")], stack)
    service = Service(stack.directory, free_ports(1)[0])
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def placed(stack: Stack, service: Service) -> Path:
    """The file of the section, from when its route is served."""
    assert FILE in README.read_text()
    file = stack.directory / FILE
    file.write_text(toml().replace(THERE, service.url))
    stack.client = stack.client.as_(f"Bearer {stack.credentials['api_key']}")
    wait_until(lambda: stack.client.get("/api/v1/reports").status == 200, SERVED_SECONDS, "the route")
    return file


def test_its_table_has_fewer_than_15_lines() -> None:
    assert len(toml().splitlines()) < 15
    assert list(tomllib.loads(toml())) == ["upstream", "route"]


@pytest.mark.usefixtures("placed")
def test_the_calls_as_they_stand_bring_the_answers_that_stand_there(stack: Stack) -> None:
    journey = [
        step for step in steps("The journey") if step.command.startswith(("API=", "TOKEN=", "curl -s $API/auth/"))
    ]
    calls = calling()
    assert all(step.answer for step in calls)
    assert len(calls) >= 3
    answers = type_in([*journey, *calls], stack)[len(journey) :]
    for step, answer in zip(calls, answers, strict=True):
        require_answer(step, answer)


@pytest.mark.usefixtures("placed")
def test_the_caller_and_the_limits_come_with_it(stack: Stack) -> None:
    caller = stack.client.get("/api/v1/me").data["user"]
    answer = stack.client.get("/api/v1/reports")
    seen = answer.data["caller"]
    assert (seen["user"], seen["organization"], seen["role"]) == (
        caller["id"],
        caller["organizationId"],
        caller["role"],
    )
    assert answer.headers.keys() >= {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-request-id"}
    assert "x-gatehouse-route" not in answer.headers


@pytest.mark.usefixtures("placed")
def test_nobody_but_the_edge_may_call_it(stack: Stack, service: Service) -> None:
    claimed = {"X-Gatehouse-Org": "mine", "X-Gatehouse-Permissions": "*:read"}
    direct = type(stack.client)(service.url).call("GET", "/api/v1/reports", **claimed)
    anonymous = type(stack.client)(stack.client.url).call("GET", "/api/v1/reports", **claimed)
    assert (direct.status, direct.body["message"]) == (401, "Only the edge may call this service")
    assert (anonymous.status, anonymous.body["error"]) == (401, "Unauthorized")


@pytest.mark.usefixtures("placed")
def test_a_new_report_reaches_those_who_follow(stack: Stack) -> None:
    connection = http.client.HTTPConnection(stack.client.url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/api/v1/reports/live", headers={"Authorization": stack.client.credential or ""})
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
    assert response.readline() == b": follow\n"
    made = stack.client.post("/api/v1/reports", {"title": "live"}).data
    assert [response.readline() for _ in range(2)] == [b"\n", b"event: report\n"]
    assert json.loads(response.readline().removeprefix(b"data: ")) == made
    response.close()
    connection.close()


def test_callers_get_the_envelope_while_it_is_stopped_and_its_answers_when_it_is_back(
    stack: Stack, service: Service, placed: Path
) -> None:
    service.stop()
    answer = stack.client.get("/api/v1/reports")
    assert (answer.status, answer.body["error"], answer.body["success"]) == (502, "BadGateway", False)
    assert answer.body["requestId"] == answer.headers["x-request-id"]
    service.start()
    wait_until(lambda: stack.client.get("/api/v1/reports").status == 200, 30, "an answer of the service")
    placed.unlink()
    wait_until(lambda: stack.client.get("/api/v1/reports").status == 404, SERVED_SECONDS, "404")
