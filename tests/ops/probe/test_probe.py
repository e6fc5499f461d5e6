"""A probe tells what a client would see, keeps a record of it, and alerts when it changes, not every time."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ops.probe import Outcome, probe, target
from ops.probe.incidents import REMIND_SECONDS, Incidents, incidents
from ops.probe.reviving import down, revive
from ops.stack.errors import StackError
from ops.stack.place import Place
from ops.visit import Visit, visit
from tests.ops.site import Authority, Site, serving
from tests.ops.stacks import Stack, free_ports, until

LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (passed|failed) (\d{3}|-) \d+ ms https?://\S+"


class Host:
    """A state directory, a hook that writes down what it is told, and the environment that names them."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.site = site
        self.place = Place(folder / "var")
        self._heard = folder / "heard"
        hook = folder / "hook"
        hook.write_text(f'#!/bin/sh\necho "$1" >> {self._heard}\n')
        hook.chmod(0o755)
        self.environ = {
            "ALERT_HOOK": str(hook),
            "GATEHOUSE_ENV_FILE": "/nonexistent",
            "GATEHOUSE_VAR": str(self.place.var),
            "EDGE_PORT": str(free_ports(1)[0]),
        }

    def probe(self, **arguments: Any) -> Outcome:
        return probe(f"{self.site.url}/health/ready", self.place, environ=self.environ, **arguments)

    def heard(self) -> list[str]:
        return self._heard.read_text().splitlines() if self._heard.exists() else []

    def lines(self) -> list[str]:
        return self.place.log("probe").read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with serving(Site()) as site:
        yield Host(tmp_path, site)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def test_200_passes_and_leaves_one_dated_line(host: Host) -> None:
    assert host.probe().passed
    assert host.probe().passed
    assert len(host.lines()) == 2
    assert all(re.fullmatch(LINE, line)[1] == "passed" for line in host.lines())  # type: ignore[index]
    assert host.place.log("probe").stat().st_mode & 0o777 == 0o600
    assert host.heard() == []


def test_503_fails_and_names_the_culprit(host: Host) -> None:
    host.site.status = 503
    host.site.fields = {"status": "unavailable", "checks": {"auth": "healthy", "database": "unhealthy"}}
    outcome = host.probe()
    assert (outcome.passed, outcome.status, outcome.problem) == (False, 503, "not ready: database")
    assert re.match(f"{LINE}: not ready: database$", host.lines()[0])


def test_a_problem_is_told_when_it_begins_and_when_it_is_over(host: Host) -> None:
    url = f"{host.site.url}/health/ready"
    host.site.status = 500
    for _ in range(3):
        host.probe()
    assert host.heard() == [f"{url} is down"]
    host.site.status = 200
    for _ in range(3):
        host.probe()
    assert host.heard() == [f"{url} is down", f"{url} is up again"]
    host.site.status = 500
    host.probe()
    assert host.heard()[2:] == [f"{url} is down"]
    assert [line.split()[1] for line in host.lines()] == ["failed"] * 3 + ["passed"] * 3 + ["failed"]


def test_degraded_passes_and_is_told_once(host: Host) -> None:
    host.site.fields = {"status": "degraded", "checks": {"redis": "unhealthy"}}
    assert host.probe().passed
    assert host.probe().degraded == "degraded: redis does not answer"
    host.site.fields = {"status": "ready", "checks": {"redis": "healthy"}}
    host.probe()
    url = f"{host.site.url}/health/ready"
    assert host.heard() == [f"{url} is degraded", f"{url} is whole again"]


def test_a_lasting_problem_is_told_again_a_day_later(tmp_path: Path) -> None:
    told: list[str] = []
    now = [1000.0]

    def observe() -> None:
        with incidents(
            tmp_path / "probe.json", lambda subject, detail: not told.append(detail), clock=lambda: now[0]
        ) as known:
            known.report("health", "refused", subject="down", over="up")

    observe()
    now[0] += REMIND_SECONDS - 1
    observe()
    assert len(told) == 1
    now[0] += 1
    observe()
    assert told == ["refused\nsince 1970-01-01T00:16:40Z"] * 2


def test_an_alert_that_was_not_delivered_is_tried_again() -> None:
    told: list[str] = []
    answers = iter([False, False, True, False, True])

    def tell(subject: str, detail: str) -> bool:
        told.append(subject)
        return next(answers)

    known = Incidents({}, tell, lambda: 1000.0)
    for problem in ("x", "x", "x", "x", "", "", ""):
        known.report("health", problem, subject="down", over="up")
    assert told == ["down", "down", "down", "up", "up"]
    assert known.known == {}


def test_a_recovery_nobody_heard_the_failure_of_is_not_told() -> None:
    told: list[str] = []
    known = Incidents({}, lambda subject, _: bool(told.append(subject)), lambda: 1000.0)
    known.report("health", "x", subject="down", over="up")
    known.report("health", "", subject="down", over="up")
    assert told == ["down"]


@pytest.mark.parametrize("spoilt", ["", "[]", '{"health": 3}', '{"health": {"since": "x", "told": 0}}'])
def test_a_spoilt_memory_costs_one_alert_at_most(tmp_path: Path, spoilt: str) -> None:
    path = tmp_path / "probe.json"
    path.write_text(spoilt)
    with incidents(path, lambda *_: True) as known:
        known.report("health", "x", subject="down", over="up")
    assert json.loads(path.read_text())["health"]["told"] > 0


def test_what_says_nothing_is_given_up_in_time(host: Host) -> None:
    host.site.silent = True
    started = time.monotonic()
    outcome = host.probe(timeout=0.3)
    assert time.monotonic() - started < 3
    assert (outcome.status, outcome.problem) == (0, "no answer within 0.3 s")
    assert re.match(rf"{LINE}: no answer within", host.lines()[0])


def test_what_is_no_http_is_told_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        found = visit(f"http://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()
    assert (found.status, found.problem) == (0, "the answer is not HTTP (BadStatusLine)")


def test_a_redirect_is_no_200(host: Host) -> None:
    host.site.status, host.site.headers = 301, {"Location": "https://elsewhere.test/"}
    assert host.probe().problem == "answered 301 where 200 was expected"


def test_a_ready_edge_behind_a_failing_front_is_said(host: Host) -> None:
    with serving(Site()) as edge:
        host.environ["EDGE_PORT"] = str(edge.port)
        host.site.status = 502
        assert "the edge itself is ready: look at the proxy" in host.probe().problem


def test_a_record_that_cannot_be_written_still_alerts(host: Host) -> None:
    host.place.var.mkdir()
    host.place.logs.write_text("a file where the directory should be")
    host.place.run.write_text("the same")
    host.site.status = 500
    with pytest.raises(StackError, match="cannot be written"):
        host.probe()
    assert host.heard() == [f"{host.site.url}/health/ready is down"]


@pytest.mark.parametrize(("days", "problem"), [(30, ""), (9, "expires in 9 days"), (-1, "certificate has expired")])
def test_the_certificate_of_the_public_url_is_watched(
    host: Host, authority: Authority, monkeypatch: pytest.MonkeyPatch, days: int, problem: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    with serving(Site(), certificate=authority.issue("127.0.0.1", days=days)) as public:
        host.environ["PUBLIC_URL"] = public.url
        outcome = host.probe()
        host.probe()
    assert outcome.passed
    assert problem in outcome.certificate_problem
    assert bool(outcome.certificate_problem) == bool(problem)
    assert host.heard() == (["a certificate needs care"] if problem else [])


def test_a_certificate_that_is_not_trusted_fails(host: Host, authority: Authority) -> None:
    with serving(Site(), certificate=authority.issue("127.0.0.1")) as public:
        host.site = public
        outcome = host.probe()
    assert not outcome.passed
    assert "the certificate is not valid" in outcome.problem


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:8080/health/ready"),
        ({"EDGE_HOST": "::", "PORT": "9000"}, "http://[::1]:9000/health/ready"),
        ({"PUBLIC_URL": "https://api.example.com/"}, "https://api.example.com/health/ready"),
        ({"PUBLIC_URL": "https://a.test", "PROBE_URL": "http://b.test/health"}, "http://b.test/health"),
    ],
)
def test_what_is_asked_when_nothing_is_said(environ: dict[str, str], url: str) -> None:
    assert target(None, {"GATEHOUSE_ENV_FILE": "/nonexistent", **environ}) == url


@pytest.mark.parametrize("url", ["ftp://a.test", "api.example.com", "http://", "http://a.test:0", "http://[::1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(StackError, match="is no URL to ask"):
        target(url)


@pytest.mark.parametrize(
    ("edge", "names"),
    [
        (Visit(0), ["edge"]),
        (Visit(503, body=b'{"checks": {"auth": "unhealthy", "core": "healthy", "database": "healthy"}}'), ["auth"]),
        (Visit(503, body=b'{"checks": {"auth": "healthy", "core": "healthy", "database": "unhealthy"}}'), []),
        (Visit(500, body=b"[]"), []),
    ],
)
def test_only_what_does_not_answer_is_restarted(edge: Visit, names: list[str]) -> None:
    assert down(edge) == names


def test_systemd_is_asked_where_it_keeps_the_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl = tmp_path / "systemctl"
    refuse_edge = 'test "$2" != gatehouse-edge.service || { echo denied >&2; exit 4; }'
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{refuse_edge}\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    place = Place(tmp_path / "var")
    assert revive(place, ["auth", "core"], systemd=tmp_path) == "restarted auth, core"
    with pytest.raises(StackError, match="systemctl restart failed: denied"):
        revive(place, ["edge"], systemd=tmp_path)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["restart gatehouse-auth.service gatehouse-core.service", "restart gatehouse-edge.service"]
    with pytest.raises(StackError, match="no service of ours is down"):
        revive(place, [], systemd=tmp_path)


def test_root_writes_as_the_folder_s_owner() -> None:
    if os.geteuid() != 0:
        pytest.skip("for root")
    with TemporaryDirectory() as folder, serving(Site()) as site:
        Path(folder).chmod(0o711)
        host = Host(Path(folder), site)
        for made in (host.place.var, host.place.logs, host.place.run):
            made.mkdir()
            os.chown(made, 12345, 12346)
        site.status = 500
        host.probe()
        for path in (host.place.log("probe"), host.place.run / "probe.json", host.place.run / "probe.lock"):
            assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)
        closed = Path(folder, "of-root")
        closed.write_text("untouched")
        closed.chmod(0o600)
        host.place.log("probe").unlink()
        host.place.log("probe").symlink_to(closed)
        with pytest.raises(StackError, match="cannot be written: Permission denied"):
            host.probe()
        assert (closed.read_text(), os.geteuid(), os.getegid()) == ("untouched", 0, 0)


def test_root_writes_nothing_where_a_folder_was_replaced_by_a_link() -> None:
    if os.geteuid() != 0:
        pytest.skip("for root")
    with TemporaryDirectory() as folder, serving(Site()) as site:
        Path(folder).chmod(0o711)
        host = Host(Path(folder), site)
        of_root = Path(folder, "of-root")
        for made in (host.place.var, of_root):
            made.mkdir(mode=0o755)
        os.chown(host.place.var, 12345, 12346)
        for link in (host.place.logs, host.place.run):
            link.symlink_to(of_root)
        with pytest.raises(StackError, match="cannot be written: Permission denied"):
            host.probe()
        assert list(of_root.iterdir()) == []


def test_the_command_restarts_a_service_that_hangs(tmp_path: Path) -> None:
    import signal

    import psutil

    stack = Stack(tmp_path / "var", LAME_DUCK_SECONDS="0", SHUTDOWN_SECONDS="1")
    workers: list[int] = []
    try:
        stack.up()
        healthy = stack.gatehouse("probe", "--json")
        assert (healthy.returncode, json.loads(healthy.stdout)["status"]) == (0, 200), healthy.stderr
        core = next(service for service in stack.status()["services"] if service["name"] == "core")
        workers = [child.pid for child in psutil.Process(core["pid"]).children()]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        assert until(lambda: visit(f"{stack.url}/health/ready").status == 503, 20)
        done = stack.gatehouse("probe", "--restart", timeout=120)
        assert done.returncode == 1
        assert "not ready: core; restarted core, answers again" in done.stdout.replace(", database", "")
        assert stack.gatehouse("probe").returncode == 0
    finally:
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        stack.interrupt()
        assert stack.is_gone()


def test_without_a_stack_the_command_says_what_to_do(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "GATEHOUSE_VAR": str(tmp_path),
        "GATEHOUSE_ENV_FILE": "/nonexistent",
        "EDGE_PORT": str(free_ports(1)[0]),
    }
    words = [sys.executable, "-m", "ops.cli", "probe", "--restart"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Connection refused; not restarted: nothing keeps this stack running" in done.stdout
