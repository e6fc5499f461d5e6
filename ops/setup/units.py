"""systemd: the units as they ship, and a drop-in where the edge's port is another."""

from pathlib import Path

from ops.setup import place
from ops.setup.machine import Machine

SHIPPED = Path(__file__).resolve().parents[1] / "systemd"
TARGET = "gatehouse.target"
_PORT_DROP_IN = "gatehouse-edge.socket.d/10-port.conf"
_PORT = """\
# Made by `gatehouse setup --port`: what EDGE_PORT says.
[Socket]
ListenStream=
ListenStream=127.0.0.1:{port}
"""


def shipped() -> dict[str, str]:
    """Every file below `ops/systemd/` by its path there."""
    return {str(path.relative_to(SHIPPED)): path.read_text() for path in sorted(SHIPPED.rglob("*")) if path.is_file()}


def installable() -> list[str]:
    """The units that something must enable."""
    return [name for name, text in shipped().items() if "\n[Install]\n" in text]


def install_units(machine: Machine, port: int) -> list[str]:
    """What was written."""
    done = [f"{name} written" for name, text in shipped().items() if machine.write(place.UNITS / name, text)]
    drop_in = place.UNITS / _PORT_DROP_IN
    if port != 8080 or machine.has(drop_in):
        done += [f"{_PORT_DROP_IN} written"] if machine.write(drop_in, _PORT.format(port=port)) else []
    if done:
        machine.run("systemctl", "daemon-reload")
    return done


def is_enabled(machine: Machine) -> bool:
    """Whether a set-up has come to its end here."""
    return machine.at(place.UNITS / "multi-user.target.wants" / TARGET).is_symlink()


def enable(machine: Machine) -> list[str]:
    """Now and at each boot."""
    if not machine.is_real:
        return []
    done = []
    names = installable()
    if not all(machine.succeeds("systemctl", "is-enabled", "--quiet", name) for name in names):
        machine.run("systemctl", "enable", "--quiet", *names)
        done.append("enabled")
    if not _runs(machine):
        machine.run("systemctl", "start", TARGET, seconds_max=300)
        done.append("started")
    return done


def _runs(machine: Machine) -> bool:
    services = [name for name in installable() if name.endswith((".service", ".socket", ".timer", ".target"))]
    return all(machine.succeeds("systemctl", "is-active", "--quiet", name) for name in services)
