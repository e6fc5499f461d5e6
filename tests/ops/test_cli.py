"""The command line where nothing runs, and the parts of it that can be looked at alone."""

import io
import json
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from ops.cli.output import duration
from ops.cli.telling import TerminalTeller, plain_teller
from ops.stack.events import Event, Story
from ops.stack.place import Place
from ops.stack.watch import concerned, watch
from tests.ops.stacks import COMMAND, Stack

KEY = "sk_live_" + "k" * 36
SUMMARY = {
    "url": "http://127.0.0.1:8080",
    "var": "/srv/gatehouse/var",
    "credentials": {"api_key": KEY, "admin": {"email": "admin@gatehouse.local", "password": "the-password"}},
    "is_first_run": True,
}


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path / "var")


def test_nothing_running_is_a_sentence_for_each_command(stack: Stack) -> None:
    nothing = f"nothing is running over {stack.var}\n"
    down, status, restart = (stack.gatehouse(word) for word in ("down", "status", "restart"))
    assert (down.returncode, down.stdout) == (0, nothing)
    assert (status.returncode, status.stdout) == (1, nothing)
    assert (restart.returncode, restart.stderr) == (1, f"error: {nothing}")
    as_json = json.loads(stack.gatehouse("status", "--json").stdout)
    assert (as_json["state"], as_json["ready"]) == ("stopped", False)
    assert stack.gatehouse("logs").stderr == f"error: there are no logs in {stack.var}/logs\n"


@pytest.mark.parametrize("words", [["nope"], ["restart", "nope"], ["serve", "nope"], ["logs", "-n", "-1"], ["up", "x"]])
def test_wrong_usage_is_status_2(stack: Stack, words: list[str]) -> None:
    (stack.var / "logs").mkdir(parents=True)
    (stack.var / "logs" / "edge.log").touch()
    assert stack.gatehouse(*words).returncode == 2


def test_help_lists_every_command_and_does_not_wait_for_their_imports(stack: Stack) -> None:
    environ = stack.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run([*COMMAND, "--help"], env=environ, capture_output=True, text=True, check=True)
    for name in ("up", "down", "restart", "status", "logs", "doctor", "migrate", "dev"):
        assert re.search(rf"^  {name} +\S", done.stdout, re.MULTILINE)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "ops.cli" in imported
    assert not imported & {"alembic", "aiohttp", "pydantic", "ops.embedded", "psutil", "rich.console"}


def test_doctor_before_the_first_start_makes_nothing(stack: Stack) -> None:
    done = stack.gatehouse("doctor", "--json")
    findings = {finding["name"]: finding["state"] for finding in json.loads(done.stdout)}
    assert done.returncode == 0
    assert findings["Settings"] == findings["Ports"] == "ok"
    assert findings["Database"] == findings["Services"] == "skip"
    assert not stack.var.exists()


def test_serve_runs_one_service_in_the_foreground(stack: Stack) -> None:
    done = stack.gatehouse("serve", "core", CORE_SERVICE_KEY="")
    assert done.returncode == 1
    assert "core_service: CORE_SERVICE_KEY: must be set" in done.stderr


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_is_to_be_copied_is_never_cut_or_framed(width: int) -> None:
    screen = io.StringIO()
    tell = TerminalTeller(Console(file=screen, width=width, force_terminal=True, color_system=None, highlight=False))
    tell({"event": "ready", "summary": SUMMARY})
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in screen.getvalue().splitlines()]
    assert f'curl -H "Authorization: Bearer {KEY}" http://127.0.0.1:8080/api/v1/me' in lines
    assert any(KEY in line and "curl" not in line for line in lines)
    assert any("the-password" in line for line in lines)
    assert any("╭" in line for line in lines) == (width >= 80)


def test_a_pipe_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story(plain_teller)
    with story.step("Valkey") as step:
        step.note = "127.0.0.1:6379"
    story.say("auth is back")
    story.tell("ready", summary={**SUMMARY, "is_first_run": False})
    said = capsys.readouterr().out
    assert said.startswith("Valkey: 127.0.0.1:6379 (0.0 s)\nauth is back\n")
    assert "the-password" not in said
    assert "\x1b" not in said


def test_a_listener_that_has_gone_away_does_not_stop_the_story() -> None:
    heard: list[Event] = []

    def gone(_event: Event) -> None:
        raise BrokenPipeError

    Story(gone, heard.append).say("still here")
    assert heard == [{"event": "say", "text": "still here"}]


async def test_a_source_change_reloads_the_services_it_concerns(tmp_path: Path) -> None:
    for package in ("common", "edge", "auth_service", "core_service"):
        (tmp_path / package).mkdir()
    said: list[str] = []
    asked: list[list[str]] = []

    class Done(Exception):
        pass

    async def reload(names: Iterable[str]) -> dict[str, str | None]:
        asked.append(list(names))
        return {"core": "core: LIMIT_AI: nonsense"}

    def listen(event: Event) -> None:
        said.append(event["text"])
        if "LIMIT_AI" in event["text"]:
            raise Done

    def touch() -> None:
        (tmp_path / "core_service" / f"new_{time.monotonic_ns()}.py").touch()
        (tmp_path / "core_service" / "notes.md").touch()

    import asyncio

    async def keep_touching() -> None:
        while True:  # the watcher says nothing when it has begun
            touch()
            await asyncio.sleep(0.2)

    touching = asyncio.create_task(keep_touching())
    try:
        with pytest.raises(Done):
            async with asyncio.timeout(20):
                await watch(reload, Story(listen), root=tmp_path)
    finally:
        touching.cancel()
    assert asked == [["core"]]
    assert re.match(r"core_service/new_\d+\.py.* changed: reloading core$", said[0])


def test_common_concerns_every_service(tmp_path: Path) -> None:
    assert concerned([f"{tmp_path}/common/json.py"], tmp_path) == ["edge", "auth", "core"]
    assert concerned([f"{tmp_path}/edge/app.py", f"{tmp_path}/auth_service/app.py"], tmp_path) == ["edge", "auth"]


def test_the_state_directory_is_found_where_all_settings_are(tmp_path: Path) -> None:
    dotenv = tmp_path / "env"
    dotenv.write_text(f"GATEHOUSE_VAR={tmp_path}/from-file\n")
    assert Place.find({"GATEHOUSE_ENV_FILE": str(dotenv)}).var == tmp_path / "from-file"
    assert (
        Place.find({"GATEHOUSE_VAR": "relative", "GATEHOUSE_ENV_FILE": "/nonexistent"}).var == Path.cwd() / "relative"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.4, "7 s"), (130, "2 min"), (3 * 3600 + 300, "3 h 5 min"), (100_000, "1 d 3 h")]
)
def test_durations_are_said_shortly(seconds: float, text: str) -> None:
    assert duration(seconds) == text
