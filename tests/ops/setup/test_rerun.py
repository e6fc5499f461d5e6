"""A set-up that is run again: on a machine that works already, and on one where a program failed half-way."""

import os
import stat
from pathlib import Path

import pytest

from ops.setup import front, store, units
from ops.setup.answers import Answers
from ops.setup.machine import Machine
from ops.stack.errors import StackError

ANSWERS = Answers(domains="api.example.com", email="a@example.com", front="nginx")


class Told(Machine):
    """A machine whose programs only note that they were run. `failing` are beginnings of command lines that fail."""

    def __init__(self, root: Path, *failing: str) -> None:
        super().__init__(root)
        self.is_real = True
        self.lines: list[str] = []
        self.failing = failing

    def ask(self, *words: str | Path, text: str = "", seconds_max: float = 0) -> str:
        line = " ".join(map(str, words))
        self.lines.append(line)
        if line.startswith(self.failing):
            raise StackError(f"`{line}` failed")
        return ""

    def changes(self) -> list[str]:
        """What was run that is no question."""
        return [line for line in self.lines if not line.startswith(("systemctl is-", "sh -c nginx -v"))]

    def _is_as(self, found: os.stat_result, mode: int, owner: str, group: str) -> bool:
        return stat.S_IMODE(found.st_mode) == mode

    def _give(self, handle: int, mode: int, owner: str, group: str) -> None:
        os.fchmod(handle, mode)


def test_another_port_moves_the_edge_that_runs(tmp_path: Path) -> None:
    units.install_units(Told(tmp_path), 8080)
    again = Told(tmp_path)
    assert units.install_units(again, 9090)[-1] == "the edge moved to port 9090"
    assert again.changes() == [
        "systemctl daemon-reload",
        "systemctl stop gatehouse-edge.service gatehouse-edge.socket",
        "systemctl start gatehouse-edge.socket gatehouse-edge.service",
    ]
    third = Told(tmp_path)
    assert units.install_units(third, 9090) == []
    assert third.changes() == []


def test_another_port_before_the_first_start_starts_nothing(tmp_path: Path) -> None:
    machine = Told(tmp_path, "systemctl is-active")
    units.install_units(machine, 9090)
    assert machine.changes() == ["systemctl daemon-reload"]


def test_services_that_run_read_changed_settings_and_only_those(tmp_path: Path) -> None:
    machine = Told(tmp_path)
    assert units.enable(machine) == []
    machine.write("/etc/gatehouse/gatehouse.env", "DOMAINS=new.example.com\n")
    assert units.enable(machine) == ["services reloaded"]
    assert machine.changes() == [
        "systemctl reload gatehouse-edge.service gatehouse-auth.service gatehouse-core.service"
    ]


@pytest.mark.parametrize("failing", ["nginx -t", "systemctl reload-or-restart nginx"])
def test_a_front_that_could_not_be_brought_in_is_done_again(tmp_path: Path, failing: str) -> None:
    enabled = tmp_path / "etc/nginx/sites-enabled/default"
    enabled.parent.mkdir(parents=True)
    enabled.symlink_to("../sites-available/default")
    site = tmp_path / "etc/nginx/conf.d/gatehouse.conf"
    with pytest.raises(StackError):
        front.put_in_front(Told(tmp_path, failing), ANSWERS)
    assert not site.exists()
    assert enabled.is_symlink()

    machine = Told(tmp_path)
    assert "nginx reloaded" in front.put_in_front(machine, ANSWERS)
    assert site.exists()
    assert not enabled.is_symlink()
    assert machine.changes()[-1] == "systemctl reload-or-restart nginx"


def test_a_front_that_was_stopped_is_started(tmp_path: Path) -> None:
    front.put_in_front(Told(tmp_path), ANSWERS)
    assert front.put_in_front(Told(tmp_path), ANSWERS) == []
    machine = Told(tmp_path, "systemctl is-active")
    assert front.put_in_front(machine, ANSWERS) == ["nginx started"]
    assert machine.changes() == ["systemctl enable --now --quiet nginx"]


def test_a_store_that_did_not_come_up_is_tried_again(tmp_path: Path) -> None:
    main = tmp_path / "etc/redis/redis.conf"
    main.parent.mkdir(parents=True)
    main.write_text("port 6379\n")
    with pytest.raises(StackError):
        store.configure(Told(tmp_path, "systemctl restart"), "secret")
    down = Told(tmp_path, "systemctl is-active")
    assert store.configure(down, "secret") == ["redis-server.service restarted"]
    assert store.configure(Told(tmp_path), "secret") == []
