"""How an upgrade may end, in a world of small releases: whatever happens, `current`, workers and outcome agree.

What is around the upgrade stands in (three HTTP servers that answer with the release that was current when they were
replaced, commands that print JSON); homes, releases, links, records and the upgrade itself are real.
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner

from ops.cli import upgrade as command
from ops.release import Home, ReleaseError, activate, install, record, services, upgrading
from ops.release import source as sources
from ops.release.outcome import Outcome
from ops.release.upgrading import Upgrade
from ops.stack import configuration
from ops.stack.events import Story
from ops.stack.place import Place
from tests.ops.release.checkouts import borrow, doctor, small_source

# What a small release's own commands do: `{command}` fails where its release says so.
_COMMANDS = """
import json, os, pathlib, sys
faults = {faults!r}
word = sys.argv[1]
if word in faults:
    sys.exit(faults[word])
print(json.dumps({{"path": "/backups/one", "applied": []}}))
"""
_CHECK = """
import json
print(json.dumps({{"listen": [{{"name": "http", "host": "127.0.0.1", "port": {port}}}]}}))
"""
_MAPPING = """
import mmap, sys
file = open(sys.argv[1], "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
file.close()
print(flush=True)
input()
"""


class Served(ThreadingHTTPServer):
    """One service; `version` is what its workers run."""

    daemon_threads = True
    version = ""
    ready = True


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Served)
        is_away = self.path.endswith("/ready") and not self.server.ready
        body = json.dumps({"version": self.server.version, "checks": {"moon": "unhealthy"} if is_away else {}}).encode()
        self.send_response(503 if is_away else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Not to standard error."""


@dataclass
class World:
    """`on_replace` is called with service and release before a service is replaced, and may raise."""

    folder: Path
    served: dict[str, Served]
    home: Home
    title: str = "a stand-in"
    on_replace: Callable[[str, str], None] = lambda service, release: None
    unready: set[tuple[str, str]] = field(default_factory=set)

    @property
    def place(self) -> Place:
        return Place(self.folder / "var")

    def check(self) -> None:
        """Nothing is wrong with these services."""

    def replace(self, service: str) -> None:
        name = self.current
        self.on_replace(service, name)
        self.served[service].version = name
        self.served[service].ready = (service, name) not in self.unready
        self.served["edge"].ready = all(self.served[each].ready for each in ("auth", "core"))

    @property
    def current(self) -> str:
        release = self.home.current_release()
        assert release
        return release.name

    @property
    def versions(self) -> set[str]:
        return {server.version for server in self.served.values()}

    def source(self, version: str, **faults: str) -> Path:
        top = small_source(self.folder / f"source-{version}", version)
        (top / "ops" / "cli.py").write_text(_COMMANDS.format(faults=faults))
        for service, package in (("auth", "auth_service"), ("core", "core_service"), ("edge", "edge")):
            told = _CHECK.format(port=self.served[service].server_port)
            (top / package / "__main__.py").write_text(faults.get(package) or told)
        return top

    def upgrade(self, source: Path | None, services: Any = None) -> Outcome:
        read = configuration.read({"GATEHOUSE_VAR": str(self.place.var), "GATEHOUSE_ENV_FILE": "/nonexistent"})
        made = Upgrade(self.home, read, services or self, Story(), fill=borrow, ready_seconds=0.3)
        return made.back() if source is None else made.to(sources.read(source))


@pytest.fixture
def world() -> Iterator[World]:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        served = {service: Served(("127.0.0.1", 0), _Answer) for service in upgrading.ORDER}
        for server in served.values():
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        world = World(Path(folder), served, Home(Path(folder, "home")))
        world.place.prepare()
        activate(install(world.source("1.0.0"), world.home, fill=borrow))
        for service in upgrading.ORDER:
            world.replace(service)
        yield world
        for server in served.values():
            server.shutdown()
            server.server_close()


def expect(world: World, outcome: Outcome, result: str, running: str) -> None:
    """Outcome, link, workers and record say the same."""
    assert (outcome.result, outcome.running) == (result, running), outcome
    assert world.current == running
    assert world.versions == {running}
    assert record.read(world.place)["upgrades"][0] == outcome.entry()
    assert record.read(world.place)["current"] == running


def test_upgrade_and_back(world: World) -> None:
    expect(world, world.upgrade(world.source("1.1.0")), "upgraded", "1.1.0")
    expect(world, world.upgrade(world.folder / "source-1.1.0"), "unchanged", "1.1.0")
    expect(world, world.upgrade(None), "rolled back", "1.0.0")
    with pytest.raises(ReleaseError, match=r"there is no release before 1\.0\.0"):
        world.upgrade(None)


@pytest.mark.parametrize(
    ("current", "new", "reason"),
    [
        ({"backup": "error: no room"}, {}, "no upgrade without a backup: no room"),
        ({}, {"migrate": "error: migration core_9001 failed: no"}, "migration core_9001 failed: no"),
        ({}, {"core_service": "import sys; sys.exit('COLOUR: must be set')"}, "COLOUR: must be set"),
        ({}, {"core_service": "print('hello')"}, "`core_service check` answered no JSON"),
    ],
)
def test_what_fails_before_the_switch_switches_nothing(
    world: World, current: dict[str, str], new: dict[str, str], reason: str
) -> None:
    world.upgrade(world.source("1.1.0", **current))
    outcome = world.upgrade(world.source("1.2.0", **new))
    expect(world, outcome, "failed", "1.1.0")
    assert outcome.reason == f"{reason}; nothing was switched, 1.1.0 runs on"


def test_older_version_is_refused(world: World) -> None:
    outcome = world.upgrade(world.source("0.9.0"))
    expect(world, outcome, "failed", "1.0.0")
    assert "version 0.9.0 is older than 1.0.0, which runs" in outcome.reason
    assert [release.name for release in world.home.installed()] == ["1.0.0"]


@pytest.mark.parametrize("broken", upgrading.ORDER)
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ReleaseError("refused"), "refused"),
        (KeyboardInterrupt(), "interrupted"),
        (ZeroDivisionError("nobody thought of it"), "ZeroDivisionError: nobody thought of it"),
    ],
)
def test_whatever_happens_after_the_switch_the_old_release_serves_again(
    world: World, broken: str, error: BaseException, reason: str
) -> None:
    def fail(service: str, release: str) -> None:
        if (service, release) == (broken, "1.1.0"):
            raise error

    world.on_replace = fail
    outcome = world.upgrade(world.source("1.1.0"))
    expect(world, outcome, "rolled back", "1.0.0")
    assert outcome.reason.startswith(f"{reason}; 1.0.0 runs again and is healthy")


def test_release_of_which_the_last_service_is_not_ready_is_rolled_back(world: World) -> None:
    """The edge is not ready before those behind it are, so all are put back before any is judged."""
    world.unready = {("core", "1.1.0")}
    outcome = world.upgrade(world.source("1.1.0"))
    expect(world, outcome, "rolled back", "1.0.0")
    assert outcome.reason.startswith("core is not ready (moon) after 0.3 s")


def test_a_service_that_does_not_come_back_keeps_no_other_from_it(world: World) -> None:
    def fail(service: str, release: str) -> None:
        if (service, release) in {("edge", "1.1.0"), ("core", "1.0.0")}:
            raise ReleaseError(f"{service} refused {release}")

    world.on_replace = fail
    outcome = world.upgrade(world.source("1.1.0"))
    assert (outcome.result, outcome.running, world.current) == ("broken", "1.0.0", "1.0.0")
    assert {service: server.version for service, server in world.served.items()} == {
        "auth": "1.0.0",
        "core": "1.1.0",
        "edge": "1.0.0",
    }
    assert outcome.reason.startswith(
        "edge refused 1.1.0; 1.0.0 is current again, but going back failed too: core refus"
    )
    assert record.read(world.place)["upgrades"][0]["result"] == "broken"


def test_interruption_of_the_clearing_up_does_not_undo_what_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrading, "prune", lambda home: os.kill(os.getpid(), signal.SIGTERM))
    expect(world, world.upgrade(world.source("1.1.0")), "upgraded", "1.1.0")


def test_upgrade_that_was_cut_off_after_the_switch_is_finished_or_undone(world: World) -> None:
    """As after a kill or a power cut: the link leads to the new release, some workers are old."""
    new = install(world.source("1.1.0"), world.home, fill=borrow)
    activate(new)
    world.replace("auth")
    expect(world, world.upgrade(world.folder / "source-1.1.0"), "upgraded", "1.1.0")
    world.served["core"].version = "1.0.0"

    def fail(service: str, release: str) -> None:
        if release == "1.1.0":
            raise ReleaseError("refused")

    world.on_replace = fail
    outcome = world.upgrade(world.folder / "source-1.1.0")
    assert (outcome.result, outcome.running, world.current) == ("rolled back", "1.0.0", "1.0.0")


def test_upgrade_while_nothing_runs_switches_the_link(world: World) -> None:
    outcome = world.upgrade(world.source("1.1.0"), services.Stopped())
    assert (outcome.result, world.current, world.versions) == ("upgraded", "1.1.0", {"1.0.0"})


@pytest.mark.parametrize("spoilt", ["", "[]", "{}", '{"upgrades": 3}'])
def test_a_spoilt_record_is_begun_anew(world: World, spoilt: str) -> None:
    record.path(world.place).write_text(spoilt)
    outcome = world.upgrade(world.source("1.1.0"))
    assert record.read(world.place)["upgrades"] == [outcome.entry()]


def test_root_records_as_the_owner_of_the_state_directory(world: World) -> None:
    if os.geteuid() != 0:
        pytest.skip("for root")
    of_root = world.folder / "of-root"
    of_root.mkdir()
    for path in (world.place.var, world.place.run):
        os.chown(path, 12345, 12346)
    record.add(world.place, world.home, {"result": "upgraded"})
    assert record.path(world.place).stat().st_uid == 12345
    record.path(world.place).unlink()
    world.place.run.rmdir()
    world.place.run.symlink_to(of_root)
    with pytest.raises(PermissionError):
        record.add(world.place, world.home, {"result": "upgraded"})
    assert list(of_root.iterdir()) == []


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_failure_under_the_name_of_the_current_release_is_status_1(
    world: World, monkeypatch: pytest.MonkeyPatch, as_json: list[str]
) -> None:
    """Its content is another, its version the same."""
    source = world.folder / "source-1.0.0"
    doctor(source / "ops" / "cli.py", "faults = {}", "faults = {'migrate': 'error: migration failed'}")
    environ = {"GATEHOUSE_VAR": str(world.place.var), "GATEHOUSE_HOME": str(world.home.path)}
    for name, value in {**environ, "GATEHOUSE_ENV_FILE": "/nonexistent"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(services, "find", lambda *_: services.Stopped())
    monkeypatch.setattr(upgrading, "install_locked", lambda *_, **__: refused())
    done = CliRunner().invoke(command.command, [str(source), *as_json])
    assert done.exit_code == 1
    said = json.loads(done.stdout)["reason"] if as_json else str(done.exception)
    assert said == "no packages; nothing was switched, 1.0.0 runs on"


def refused() -> None:
    raise ReleaseError("no packages")


def test_a_release_that_a_process_has_mapped_is_in_use(world: World, tmp_path: Path) -> None:
    """As a database server that `gatehouse up` started through `current`, three releases ago."""
    release = world.home.current_release()
    assert release
    library = release.path / "library.so"
    library.write_bytes(b"\0" * 4096)
    link = tmp_path / "link.so"
    link.symlink_to(library)
    process = subprocess.Popen(
        ["python3", "-c", _MAPPING, str(link)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "\n"
        activate(install(world.source("1.1.0"), world.home, fill=borrow))
        activate(install(world.source("1.2.0"), world.home, fill=borrow))
        assert upgrading.prune(world.home, keep=0) == []
    finally:
        process.communicate("\n", timeout=10)
    assert upgrading.prune(world.home, keep=0) == ["1.0.0"]
