"""The units as they ship, read and copied for the tests."""

import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

from ops.setup.units import SHIPPED

SERVICES = {"edge": "edge", "auth": "auth_service", "core": "core_service"}
COMMON = SHIPPED / "gatehouse-.service.d" / "10-gatehouse.conf"
PROGRAMS = "/opt/gatehouse/current/.venv/bin/"


def values(path: Path, name: str) -> list[str]:
    """What a directive is given in one file, in order."""
    lines = [line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#")]
    return [value for key, _, value in lines if key == name]


def of(unit: str, name: str) -> list[str]:
    """The same with what all services have in common."""
    own = values(SHIPPED / unit, name)
    return [*values(COMMON, name), *own] if unit.endswith(".service") else own


def services() -> list[str]:
    return sorted(path.name for path in SHIPPED.glob("*.service"))


def commands(unit: str) -> list[list[str]]:
    """The words of every Exec line, without systemd's prefixes."""
    names = ("ExecStart", "ExecStartPre", "ExecReload", "ExecStopPost")
    return [shlex.split(line.lstrip("-+")) for name in names for line in of(unit, name)]


def copied(to: Path, programs: Iterable[str] = ("python", "gatehouse")) -> Path:
    """The units with programs that exist: systemd looks for those. A folder as /etc/systemd/system."""
    folder = to / "units"
    shutil.copytree(SHIPPED, folder)
    (to / "bin").mkdir()
    for program in programs:
        (to / "bin" / program).symlink_to("/bin/true")
    for path in folder.rglob("*.service"):
        path.write_text(path.read_text().replace(PROGRAMS, f"{to}/bin/"))
    return folder
