"""What is said to systemd, and how its answers are understood. (A real systemd runs the units in `make host-check`.)"""

import json
import os
import sys
from pathlib import Path

import pytest

from ops.release import Home, ReleaseError
from ops.release.services import Controller, Stopped, Systemd, find
from ops.stack.place import Place

# Answers from a table, remembers what it was asked, and puts a unit's next status text in place on a reload.
SYSTEMCTL = """#!{python}
import json, pathlib, sys
path = pathlib.Path({table!r})
table = json.loads(path.read_text())
words = sys.argv[2:]
table["asked"].append(words)
unit = words[-1]
if words[0] == "reload":
    if unit in table["refused"]:
        sys.exit(f"Job for {{unit}} failed because the control process exited with error code.")
    table["StatusText"][unit] = table["after"].get(unit, "")
else:
    print(table[words[1].removeprefix("--property=")].get(unit, ""))
path.write_text(json.dumps(table))
"""
UNITS = ("gatehouse-auth.service", "gatehouse-core.service", "gatehouse-edge.service")


class Manager:
    """The stand-in's table."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(
            asked=[],
            refused=[],
            ActiveState=dict.fromkeys(UNITS, "active"),
            StatusText=dict.fromkeys(UNITS, "reload 3: ready (1 worker)"),
            after={},
        )

    def set(self, **changes: object) -> None:
        table = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._path.write_text(json.dumps(table | changes))

    @property
    def asked(self) -> list[list[str]]:
        asked: list[list[str]] = json.loads(self._path.read_text())["asked"]
        return asked


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL.format(python=sys.executable, table=str(tmp_path / "table.json")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return Manager(tmp_path / "table.json")


def test_reload_is_over_when_the_status_says_so(manager: Manager) -> None:
    manager.set(after={"gatehouse-core.service": "reload 4: ready (1 worker; http 127.0.0.1:8082)"})
    Systemd().replace("core")
    assert ["reload", "gatehouse-core.service"] in manager.asked
    assert [words for words in manager.asked if words[0] == "reload"] == [["reload", "gatehouse-core.service"]]


def test_refused_reload_is_an_error_with_its_reason(manager: Manager) -> None:
    manager.set(after={"gatehouse-auth.service": "reload 4: not reloaded, the old workers stay: worker 0 died"})
    with pytest.raises(ReleaseError, match="auth: not reloaded, the old workers stay: worker 0 died; see journalctl"):
        Systemd().replace("auth")


def test_refusal_of_an_earlier_reload_is_not_taken_for_this_one(manager: Manager) -> None:
    manager.set(
        StatusText={"gatehouse-auth.service": "reload 3: not reloaded, the old workers stay: earlier"},
        after={"gatehouse-auth.service": "reload 4: ready (1 worker)"},
    )
    Systemd().replace("auth")


@pytest.mark.parametrize("text", ["reload 4 is under way", "reload 3: ready (1 worker)", ""])
def test_reload_that_does_not_end_is_an_error(manager: Manager, text: str) -> None:
    manager.set(after={"gatehouse-edge.service": text})
    with pytest.raises(ReleaseError, match=r"gatehouse-edge\.service has not reloaded after 0\.3 s"):
        Systemd(seconds=0.3).replace("edge")


def test_reload_that_systemd_refuses_is_an_error(manager: Manager) -> None:
    manager.set(refused=["gatehouse-edge.service"])
    with pytest.raises(ReleaseError, match=r"systemctl reload gatehouse-edge\.service: Job for"):
        Systemd().replace("edge")


def test_units_that_do_not_run_are_named_before_anything_is_done(manager: Manager) -> None:
    Systemd().check()
    manager.set(ActiveState={"gatehouse-auth.service": "active", "gatehouse-core.service": "failed"})
    with pytest.raises(ReleaseError, match=r"edge\.service is unknown, .*core\.service is failed: start it"):
        Systemd().check()


def test_whoever_runs_the_services_is_found(manager: Manager, tmp_path: Path) -> None:
    place, home = Place(tmp_path / "var"), Home(tmp_path / "home")
    place.prepare()
    assert isinstance(find(place, home, systemd=tmp_path), Systemd)
    manager.set(ActiveState={})
    assert isinstance(find(place, home, systemd=tmp_path), Stopped)
    manager.set(ActiveState=dict.fromkeys(UNITS, "active"))
    assert isinstance(find(place, home, systemd=tmp_path / "none"), Stopped)
    with place.taken():
        assert isinstance(find(place, home, systemd=tmp_path), Controller)


def test_machine_without_systemctl_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReleaseError, match="systemctl cannot be run: No such file"):
        Systemd().check()
