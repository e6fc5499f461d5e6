"""What `gatehouse up` does by itself about its logs, and `gatehouse logs --rotate` on demand."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ops.logs import files
from ops.logs.rotation import Policy
from ops.stack.events import Story
from ops.stack.log_keeping import keep_logs
from ops.stack.place import Place
from tests.ops.stacks import Stack

POLICY = Policy(days=30, bytes_max=1000, files_max=3)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.prepare()
    return place


@asynccontextmanager
async def keeping(place: Place, said: list[str]) -> AsyncIterator[None]:
    story = Story(lambda event: said.append(event["text"]))
    task = asyncio.create_task(keep_logs(place, POLICY, story, look_seconds=0.01))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_log_of_yesterday_and_one_that_grows_are_rotated(place: Place) -> None:
    edge, core, said = place.log("edge"), place.log("core"), []
    core.write_text('{"time":"2020-01-01T00:00:00.000Z"}\n')
    edge.write_text("small\n")
    async with keeping(place, said):
        await until(lambda: len(files.older(core)) == 1)
        assert files.older(edge) == []
        edge.write_text("x" * 1000 + "\n")
        await until(lambda: len(files.older(edge)) == 1)
    assert said == []


async def test_a_failure_is_said_once_and_tried_again(place: Place) -> None:
    edge, said = place.log("edge"), []
    edge.write_text('{"time":"2020-01-01T00:00:00.000Z"}\n')  # of another day, and small
    lock = place.logs / ".rotation.lock"
    lock.mkdir()  # nobody can open it
    async with keeping(place, said):
        await until(lambda: len(said) == 1)
        await asyncio.sleep(0.1)  # several looks later
        assert len(said) == 1
        lock.rmdir()
        await until(lambda: len(files.older(edge)) == 1)
    assert said == [f"the logs could not be rotated: Is a directory: {lock}"]


def test_root_rotates_as_the_owner_of_the_state_directory() -> None:
    if os.geteuid() != 0:
        pytest.skip("for root")
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        stack = Stack(Path(folder, "var"))
        of_root, logs = Path(folder, "postgres.log"), stack.var / "logs"
        of_root.write_text("2020-01-01 10:00:00.000 UTC of root\n")
        of_root.chmod(0o600)
        logs.mkdir(parents=True)
        (logs / "edge.log").write_text("one\n")
        (logs / "core.log-20200101T000000.000000Z").symlink_to(of_root)
        (logs / "core.log-20200102T000000.000000Z").write_text("two\n")
        for path in (stack.var, logs, logs / "edge.log"):
            os.chown(path, 12345, 12346)
        done = stack.gatehouse("logs", "--rotate")
        assert (done.returncode, "Permission denied" in done.stderr) == (1, True)
        (logs / "core.log-20200101T000000.000000Z").unlink()
        assert stack.gatehouse("logs", "--rotate").returncode == 0
        assert {path.stat().st_uid for path in logs.iterdir() if path.name.startswith((".", "edge"))} == {12345}
        assert of_root.read_text().endswith("of root\n")


def test_rotation_on_demand_says_what_it_did(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var")
    assert stack.gatehouse("logs", "--rotate").stderr == f"error: there are no logs in {stack.var}/logs\n"
    logs = stack.var / "logs"
    logs.mkdir(parents=True)
    (logs / "edge.log").write_text("one\n")
    assert stack.gatehouse("logs", "--rotate", "--due").stdout == "nothing to rotate\n"
    assert stack.gatehouse("logs", "--rotate").stdout.startswith("rotated edge.log-20")
    assert files.names(logs) == ["edge"]
    assert stack.gatehouse("logs", "edge").stdout.endswith("one\n")
    report = json.loads(stack.gatehouse("logs", "--rotate", "--due", "--json").stdout)
    assert report == {"rotated": [], "compressed": [], "removed": []}
    wrong = stack.gatehouse("logs", "--rotate", LOG_FILES_MAX="0")
    assert (wrong.returncode, wrong.stderr) == (1, "error: LOG_FILES_MAX: must be at least 1\n")


@pytest.mark.parametrize(
    "words", [["--due"], ["--rotate", "edge"], ["--rotate", "-f"], ["--since", "yesterday"], ["--search", "("]]
)
def test_wrong_usage_of_logs_is_status_2(tmp_path: Path, words: list[str]) -> None:
    stack = Stack(tmp_path / "var")
    (stack.var / "logs").mkdir(parents=True)
    (stack.var / "logs" / "edge.log").touch()
    assert stack.gatehouse("logs", *words).returncode == 2


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "var")
    (stack.var / "logs").mkdir(parents=True)
    damaged = stack.var / "logs" / "edge.log-20260101T000000.000000Z.gz"
    damaged.write_bytes(b"\x1f\x8b\x08" + os.urandom(50))
    done = stack.gatehouse("logs", "--search", "x")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {damaged} cannot be read: ")
    assert done.stderr.count("\n") == 1
