"""The units of a host: systemd takes them as they are, and they say what this stack needs."""

import os
import subprocess
from pathlib import Path

import click
import pytest

from auth_service.settings import AuthSettings
from common.settings import Settings, names
from core_service.settings import CoreSettings
from edge.settings import EdgeSettings
from ops.cli import cli
from ops.setup import place
from ops.setup.units import SHIPPED, installable
from tests.ops.systemd.units import PROGRAMS, SERVICES, commands, copied, of, services
from tests.tools import tool

EXPOSURE_MAX = 1.5
CLASSES: dict[str, type[Settings]] = {"edge": EdgeSettings, "auth": AuthSettings, "core": CoreSettings}


def analyzed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_LOG_LEVEL": "notice"}
    return subprocess.run(
        [tool("systemd-analyze"), *words], capture_output=True, text=True, env=environ, timeout=60, check=False
    )


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    units = sorted(str(path) for path in folder.iterdir() if path.is_file())
    done = analyzed(folder, "verify", "--man=no", *units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_would_find_what_is_wrong(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    unit = folder / "gatehouse-core.service"
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=maybe"))
    assert "kill mode" in analyzed(folder, "verify", "--man=no", str(unit)).stderr


@pytest.mark.parametrize("unit", services())
def test_exposure_of_each_service_stays_low(unit: str, tmp_path: Path) -> None:
    """`systemd-analyze security`: 0 is a perfect sandbox, 9.6 a service as systemd starts it by itself."""
    folder = copied(tmp_path)
    worst = str(round(EXPOSURE_MAX * 10))
    words = ("security", "--offline=true", "--no-pager", f"--threshold={worst}", str(folder / unit))
    done = analyzed(folder, *words)
    assert done.returncode == 0, done.stdout
    assert analyzed(folder, *words[:-2], "--threshold=0", words[-1]).returncode != 0  # it does compare


@pytest.mark.parametrize("unit", services())
def test_each_service_runs_unprivileged_and_writes_its_state_only(unit: str) -> None:
    assert of(unit, "User") == of(unit, "Group") == [place.USER]
    assert of(unit, "ProtectSystem") == ["strict"]
    assert of(unit, "ReadWritePaths") == []
    assert of(unit, "StateDirectory") == [place.VAR.name]
    assert of(unit, "StateDirectoryMode") == ["0700"]
    assert of(unit, "CapabilityBoundingSet") == [""]


@pytest.mark.parametrize("unit", services())
def test_nothing_a_service_needs_is_where_it_may_not_look(unit: str) -> None:
    """ProtectHome=yes hides home directories; a unit whose programs are there cannot start."""
    assert of(unit, "ProtectHome") == ["yes"]
    paths = [*(words[0] for words in commands(unit)), *of(unit, "WorkingDirectory")]
    paths += [value.partition("=")[2] for value in of(unit, "Environment")]
    paths += of(unit, "AssertPathExists")
    assert paths
    assert [path for path in paths if Path(path).is_relative_to("/") and _is_in_a_home(path)] == []
    # Its logs are below the one place that it may write.
    assert Path("/var/lib", *of(unit, "StateDirectory")) == place.VAR


def _is_in_a_home(path: str) -> bool:
    return any(Path(path).is_relative_to(home) for home in place.HOMES)


@pytest.mark.parametrize("unit", services())
def test_every_command_line_is_one_of_ours(unit: str) -> None:
    for words in commands(unit):
        if words[0] == f"{PROGRAMS}gatehouse":
            assert cli.get_command(click.Context(cli), words[1]) is not None, words
        elif words[0] == f"{PROGRAMS}python":
            assert words[1] == "-m"
            assert words[2] in {*SERVICES.values(), "ops.alerts"}
        else:
            assert words[0] in {"/bin/kill", "/bin/sh", "/bin/sleep"}


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_stays_dead_and_none_is_stopped_too_early(service: str) -> None:
    unit = f"gatehouse-{service}.service"
    settings = CLASSES[service].model_validate({})
    assert of(unit, "Restart") == ["always"]
    assert of(unit, "RestartSec") == ["10"]
    assert of(unit, "StartLimitIntervalSec") == ["0"]
    assert float(of(unit, "TimeoutStopSec")[0]) > settings.lame_duck_seconds + settings.shutdown_seconds + 5
    assert of(unit, "KillMode") == ["mixed"]
    assert (of(unit, "MemoryHigh"), of(unit, "MemoryMax")) == (["400M"], ["512M"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_denied_only_secrets_that_it_does_not_read(service: str) -> None:
    unit = f"gatehouse-{service}.service"
    denied = {Path(word.lstrip("-")).name for line in of(unit, "InaccessiblePaths") for word in line.split()}
    assert "MIGRATE_DATABASE_URL" in denied
    assert denied & {name for aliases in names(CLASSES[service]).values() for name in aliases} == set()


@pytest.mark.parametrize("service", ["auth", "core"])
def test_a_failed_migration_stops_what_works_on_the_database(service: str) -> None:
    unit = f"gatehouse-{service}.service"
    assert of(unit, "Requires") == ["gatehouse-migrate.service"]
    assert "gatehouse-migrate.service" in " ".join(of(unit, "After")).split()
    assert of("gatehouse-migrate.service", "RemainAfterExit") == ["yes"]
    assert of("gatehouse-migrate.service", "TimeoutStartSec") == ["infinity"]


@pytest.mark.parametrize("service", SERVICES)
def test_services_start_after_the_servers_of_the_machine_without_needing_them(service: str) -> None:
    unit = f"gatehouse-{service}.service"
    after = " ".join(of(unit, "After")).split()
    servers = {"network-online.target", "redis-server.service", "valkey-server.service"}
    assert servers | ({"postgresql.service"} if service != "edge" else set()) <= set(after)
    assert not {"postgresql.service", "redis-server.service"} & set(" ".join(of(unit, "Requires")).split())


def test_what_fails_alone_is_told() -> None:
    for unit in ("gatehouse-migrate.service", "gatehouse-backup.service", "gatehouse-logs.service"):
        assert of(unit, "OnFailure") == ["gatehouse-alert@%n.service"]
    for service in SERVICES:  # systemd restarts these, which is no failure to it
        assert "gatehouse-alert@%n.service" in of(f"gatehouse-{service}.service", "ExecStopPost")[0]


def test_timers_have_the_hours_of_the_guides() -> None:
    assert of("gatehouse-backup.timer", "OnCalendar") == ["*-*-* 02:00:00"]
    assert of("gatehouse-backup.timer", "Persistent") == ["yes"]
    assert of("gatehouse-probe.timer", "OnCalendar") == ["*:0/5"]


def test_stopping_the_target_ends_and_enabling_starts_all_of_it() -> None:
    long_lived = [*(f"gatehouse-{name}.service" for name in SERVICES), "gatehouse-migrate.service"]
    timers = [path.name for path in SHIPPED.glob("*.timer")]
    wanted = " ".join(of("gatehouse.target", "Wants")).split()
    for unit in [*long_lived, *timers, "gatehouse-edge.socket"]:
        assert of(unit, "PartOf") == ["gatehouse.target"], unit
        assert unit in installable()
    assert set(wanted) == {*timers, "gatehouse-edge.socket", *(f"gatehouse-{name}.service" for name in SERVICES)}
    assert set(" ".join(of("gatehouse.target", "Before")).split()) == set(long_lived)
