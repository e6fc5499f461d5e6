"""systemd: the units as they ship, and drop-ins where the edge's port or the place of backups is another."""

from pathlib import Path

from ops.setup import place
from ops.setup.machine import Machine

SHIPPED = Path(__file__).resolve().parents[1] / "systemd"
TARGET = "gatehouse.target"
_SOCKET = "gatehouse-edge.socket"
_EDGE = "gatehouse-edge.service"
_SERVICES = (_EDGE, "gatehouse-auth.service", "gatehouse-core.service")
_PORT_DROP_IN = "gatehouse-edge.socket.d/10-port.conf"
_PORT = """\
# Made by `gatehouse setup --port`: what EDGE_PORT says.
[Socket]
ListenStream=
ListenStream=127.0.0.1:{port}
"""
_BACKUPS_DROP_IN = "gatehouse-backup.service.d/20-directory.conf"
_BACKUPS = """\
# Made by `gatehouse setup --host`: what BACKUP_DIRECTORY says. The rest of the machine is closed to the unit.
[Service]
ReadWritePaths="-{directory}"
"""


def shipped() -> dict[str, str]:
    """Every file below `ops/systemd/` by its path there."""
    return {str(path.relative_to(SHIPPED)): path.read_text() for path in sorted(SHIPPED.rglob("*")) if path.is_file()}


def installable() -> list[str]:
    """The units that something must enable."""
    return [name for name, text in shipped().items() if "\n[Install]\n" in text]


def install_units(machine: Machine, port: int, backups: str = "") -> list[str]:
    """What was done."""
    done = [f"{name} written" for name, text in shipped().items() if machine.write(place.UNITS / name, text)]
    if done and machine.succeeds("systemctl", "is-active", "--quiet", _EDGE):
        done.append(f"what runs keeps the old ones until `systemctl restart {' '.join(_SERVICES)}`")
    drop_in = place.UNITS / _PORT_DROP_IN
    moves = (port != 8080 or machine.has(drop_in)) and machine.write(drop_in, _PORT.format(port=port))
    done += [f"{_PORT_DROP_IN} written"] if moves else []
    done += _open_for_backups(machine, backups)
    if done:
        machine.run("systemctl", "daemon-reload")
    # A socket keeps the port that it has until it is made anew, and that it cannot be under a service that uses it.
    if moves and machine.succeeds("systemctl", "is-active", "--quiet", _SOCKET):
        machine.run("systemctl", "stop", _EDGE, _SOCKET)
        machine.run("systemctl", "start", _SOCKET, _EDGE)
        done.append(f"the edge moved to port {port}")
    return done


def _open_for_backups(machine: Machine, directory: str) -> list[str]:
    if not directory or Path(directory).is_relative_to(place.VAR):
        return []
    escaped = directory.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    is_new = machine.write(place.UNITS / _BACKUPS_DROP_IN, _BACKUPS.format(directory=escaped))
    return [f"{_BACKUPS_DROP_IN} written"] if is_new else []


def is_enabled(machine: Machine) -> bool:
    """Whether a set-up has come to its end here."""
    return machine.at(place.UNITS / "multi-user.target.wants" / TARGET).is_symlink()


def enable(machine: Machine) -> list[str]:
    """Now and at each boot. What ran already reads its settings again where this set-up changed them."""
    if not machine.is_real:
        return []
    done = []
    names = installable()
    if not all(machine.succeeds("systemctl", "is-enabled", "--quiet", name) for name in names):
        machine.run("systemctl", "enable", "--quiet", *names)
        done.append("enabled")
    if not all(machine.succeeds("systemctl", "is-active", "--quiet", name) for name in names):
        machine.run("systemctl", "start", TARGET, seconds_max=300)
        done.append("started")
    elif machine.changed(place.ETC) or machine.changed(place.VAR / "secrets"):
        machine.run("systemctl", "reload", *_SERVICES)
        done.append("services reloaded")
    return done
