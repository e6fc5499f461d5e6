"""Alerts reach a real program and a real HTTP server, and neither can hold up or break whoever alerts."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops.alerts import alert
from tests.ops.stacks import until

SOON = 0.3
SERVICES = 54321


class Receiver:
    """`answer` is what a POST is answered with; "drip" sends one byte at a time until `let_go` is set."""

    def __init__(self, answer: int | str) -> None:
        self.answer = answer
        self.messages: list[dict[str, Any]] = []
        self.types: list[str | None] = []
        self.let_go = threading.Event()
        self.url = ""


@contextmanager
def receiving(answer: int | str = 204) -> Iterator[Receiver]:
    receiver = Receiver(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            receiver.types.append(self.headers["Content-Type"])
            if receiver.answer == "drip":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not receiver.let_go.wait(0.05):
                    self.wfile.write(b"X")
                return
            self.send_response(int(receiver.answer))
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            pytest.fail("a redirect was followed")

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the sender gave up, as it should

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hooks/very-secret"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.let_go.set()
            server.shutdown()
            thread.join()


def hook(tmp_path: Path, script: str) -> Path:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def send(target: object, subject: str = "probe failed", detail: str = "status 503", **arguments: Any) -> bool:
    return alert(
        subject, detail, environ={"ALERT_HOOK": str(target), "GATEHOUSE_ENV_FILE": "/nonexistent"}, **arguments
    )


def test_a_program_gets_subject_and_message(tmp_path: Path) -> None:
    program = hook(tmp_path, f'printf %s "$1" > {tmp_path}/subject; cat > {tmp_path}/message')
    assert send(program, "probe\nfailed; $(id)", "line one\nline two")
    assert (tmp_path / "subject").read_text() == "probe failed; $(id)"
    message = json.loads((tmp_path / "message").read_text())
    assert sorted(message) == ["detail", "host", "service", "subject", "time", "version"]
    assert (message["detail"], message["service"]) == ("line one\nline two", "gatehouse")
    assert message["host"] == socket.gethostname()
    assert message["time"].endswith("Z")


def test_a_program_may_ignore_its_message(tmp_path: Path) -> None:
    assert send(hook(tmp_path, "exit 0"), detail="x" * 1_000_000)


def test_a_failing_program_is_told_and_raises_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not send(hook(tmp_path, "exit 3"))
    assert "'probe failed' was not delivered" in (said := capsys.readouterr().err)
    assert "ended with exit status 3" in said


@pytest.mark.parametrize("what", ["missing", "not executable", "a directory"])
def test_what_is_no_program_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    path = tmp_path / "hook"
    if what == "not executable":
        path.write_text("#!/bin/sh\n")
    elif what == "a directory":
        path.mkdir()
    assert not send(path)
    assert f"ALERT_HOOK {path} cannot be run" in capsys.readouterr().err


def test_a_slow_program_ends_with_everything_it_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = hook(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait")
    started = time.monotonic()
    assert not send(program, seconds_max=1)
    assert time.monotonic() - started < 5
    assert "was not done after 1 s" in capsys.readouterr().err
    child = int((tmp_path / "child").read_text())
    assert until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, 5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be more than the services' user")
def test_root_runs_a_hook_with_the_rights_of_the_services(tmp_path: Path) -> None:
    """They can name it: `$GATEHOUSE_VAR/secrets/ALERT_HOOK` is theirs to write."""
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    var = tmp_path / "var"
    (var / "secrets").mkdir(parents=True)
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\nid -u >{var}/told; id -G >>{var}/told; echo "$HOME" >>{var}/told\n')
    hook.chmod(0o755)
    (var / "secrets" / "ALERT_HOOK").write_text(str(hook))
    os.chown(var, SERVICES, SERVICES)
    assert alert("down", "it is", environ={"GATEHOUSE_VAR": str(var)})
    assert (var / "told").read_text().split() == [str(SERVICES), str(SERVICES), str(var)]


def test_a_url_gets_the_message_as_json() -> None:
    with receiving() as receiver:
        assert send(receiver.url)
    assert receiver.types == ["application/json"]
    assert [(message["subject"], message["detail"]) for message in receiver.messages] == [
        ("probe failed", "status 503")
    ]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_any_answer_but_2xx_is_a_failure_that_hides_the_url(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    with receiving(status) as receiver:
        assert not send(receiver.url)
    said = capsys.readouterr().err
    assert f"answered {status}" in said
    assert "very-secret" not in said


def test_a_url_that_refuses_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert not send(f"http://127.0.0.1:{closed.getsockname()[1]}/")
    assert "Connection refused" in capsys.readouterr().err


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        assert not send(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds_max=SOON)
        assert time.monotonic() - started < 5


def test_a_server_that_drips_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    with receiving("drip") as receiver:
        started = time.monotonic()
        assert not send(receiver.url, seconds_max=SOON)
        assert time.monotonic() - started < 5
    assert "did not answer within 0.3 s" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://", "https://[::1", "http://127.0.0.1:notaport/", "http://a b/"])
def test_a_url_that_is_none_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not send(url)
    assert "ALERT_HOOK at" in capsys.readouterr().err


def test_without_a_hook_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert not alert("a", "b", environ={"GATEHOUSE_ENV_FILE": "/nonexistent"})
    assert capsys.readouterr().err == ""


def test_settings_that_cannot_be_read_raise_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert not alert("a", "b", environ={"ALERT_HOOK_FILE": "/nonexistent", "GATEHOUSE_ENV_FILE": "/nonexistent"})
    assert "ALERT_HOOK_FILE: /nonexistent does not exist" in capsys.readouterr().err


def run(*words: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GATEHOUSE_ENV_FILE": "/nonexistent", **environ}
    return subprocess.run(
        [sys.executable, "-m", *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", [("ops.alerts",), ("ops.cli", "alert")])
def test_commands_deliver_or_say_why_not(tmp_path: Path, command: tuple[str, ...]) -> None:
    program = hook(tmp_path, f'echo "$1" >> {tmp_path}/subjects')
    assert run(*command, "unit failed", "gatehouse-core", environ={"ALERT_HOOK": str(program)}).returncode == 0
    assert (tmp_path / "subjects").read_text() == "unit failed\n"
    unset = run(*command, "unit failed", environ={})
    assert (unset.returncode, "error: ALERT_HOOK is not set" in unset.stderr) == (1, True)
    refused = run(*command, "unit failed", environ={"ALERT_HOOK": "/nonexistent/hook"})
    assert (refused.returncode, "error: ALERT_HOOK /nonexistent/hook cannot be run" in refused.stderr) == (1, True)
    assert run(*command, environ={}).returncode == 2
