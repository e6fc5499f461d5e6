"""What systemd must keep of its promises on a machine that `gatehouse setup --host` has made.

Every check leaves the stack running. Raises UnitsFailed with what was seen.
"""

import json
import time
from collections.abc import Callable

from ops.host.container import Container, ContainerError

SERVICES = ("edge", "auth", "core")
MEMORY_BYTES_MAX = 400_000_000
_READY = "curl --fail --silent --max-time 5 http://127.0.0.1:8080/health/ready"
_READY_SECONDS = 120.0
_SLOW_SECONDS = 300.0
# A unit whose name begins as ours do is under the same restrictions: systemd reads the drop-in for it too.
_TRY = "systemd-run --quiet --wait --pipe --collect --unit gatehouse-try"
_WRITES = """
for path in /etc/x /opt/gatehouse/x /var/log/x /home/x /root/x /var/lib/x /run/x /dev/shm/x /sys/x /proc/sys/kernel/x \\
  /var/lib/gatehouse/run/try /tmp/try; do
    (echo >> $path) 2>/dev/null && echo $path
done
rm -f /var/lib/gatehouse/run/try
"""
_KERNEL = """
import json, mmap, os, socket
def may(do):
    try: do()
    except OSError: return False
    return True
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "write and execute": may(lambda: mmap.mmap(-1, 4096, prot=7)),
    "raw packets": may(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "become root": may(lambda: os.setuid(0)),
    "capabilities": int(status["CapBnd"], 16) != 0,
    "new privileges": status["NoNewPrivs"].strip() != "1",
    "every system call": status["Seccomp"].strip() != "2",
}))
"""
_RELOAD = """
ask() { for i in $(seq 1 300); do curl -s -o /dev/null -w '%{http_code}\\n' http://127.0.0.1:8080/health; done; }
seen=$(mktemp)
ask > $seen &
sleep 1
systemctl reload gatehouse-edge gatehouse-auth gatehouse-core
wait
sort $seen | uniq -c
rm $seen
"""
_BAD_MIGRATION = """
from alembic import op
revision = "core_9999"
down_revision = "{head}"
branch_labels = None
def upgrade(): op.execute("SELECT 1/0")
def downgrade(): pass
"""


class UnitsFailed(Exception):
    """The text says what was wanted and what was seen."""


def look(machine: Container) -> list[str]:
    """What was seen, a sentence for each check."""
    checks: tuple[Callable[[Container], str], ...] = (
        writes_its_state_only,
        may_nothing_else,
        comes_back,
        drops_no_request_in_a_reload,
        refuses_a_bad_reload,
        waits_for_the_database,
        stops_at_a_failed_migration,
        runs_its_timers_work,
        stays_small,
    )
    return [check(machine) for check in checks]


def writes_its_state_only(machine: Container) -> str:
    written = machine.sh(f"{_TRY} sh -c '{_WRITES}'").split()
    _require(sorted(written) == ["/tmp/try", "/var/lib/gatehouse/run/try"], f"a service can write {written}")  # noqa: S108
    _require("/tmp/try" not in machine.sh("ls /tmp/* 2>/dev/null || true").split(), "its /tmp is everybody's")  # noqa: S108
    return "writes below /var/lib/gatehouse and into a /tmp of its own, nowhere else"


def may_nothing_else(machine: Container) -> str:
    machine.sh(f"cat > /usr/local/bin/gatehouse-try.py <<'END'\n{_KERNEL}\nEND\n")
    may: dict[str, bool] = json.loads(machine.sh(f"{_TRY} python3 /usr/local/bin/gatehouse-try.py"))
    machine.sh("rm /usr/local/bin/gatehouse-try.py")
    _require(not any(may.values()), f"a service may: {', '.join(name for name, can in may.items() if can)}")
    return f"none of: {', '.join(may)}"


def comes_back(machine: Container) -> str:
    machine.sh(f"for name in {' '.join(SERVICES)}; do kill -9 $(systemctl show -P MainPID gatehouse-$name); done")
    _until(machine, "systemctl is-active --quiet 'gatehouse-alert@gatehouse-core.service.service'", "an alert")
    seconds = _until_ready(machine)
    restarts = [machine.sh(f"systemctl show -P NRestarts gatehouse-{name}").strip() for name in SERVICES]
    _require("0" not in restarts, f"restarts after kill -9: {restarts}")
    return f"back {seconds:.0f} s after kill -9 of all three, alerts sent"


def drops_no_request_in_a_reload(machine: Container) -> str:
    seen = machine.sh(_RELOAD, seconds=_SLOW_SECONDS)
    _require(seen.split() == ["300", "200"], f"answers during a reload: {seen.split()}")
    return "300 requests during a reload, 300 answers"


def refuses_a_bad_reload(machine: Container) -> str:
    said = machine.sh(
        "cp -p /etc/gatehouse/gatehouse.env /tmp/saved; echo LOG_LEVEL=LOUD >> /etc/gatehouse/gatehouse.env; "
        "systemctl reload gatehouse-edge 2>/dev/null && echo reloaded; cp -p /tmp/saved /etc/gatehouse/gatehouse.env; "
        f"rm /tmp/saved; journalctl -u gatehouse-edge -n 5 -o cat --no-pager; {_READY}",
        seconds=_SLOW_SECONDS,
    )
    _require("reloaded" not in said.splitlines() and "LOG_LEVEL" in said, f"a reload with a bad setting: {said}")
    return "a reload with a bad setting fails by name and changes nothing"


def waits_for_the_database(machine: Container) -> str:
    machine.sh(
        "systemctl stop gatehouse.target 'postgresql@*' && systemctl start gatehouse.target", seconds=_SLOW_SECONDS
    )
    _until(machine, "journalctl -u gatehouse-migrate -n 1 -o cat | grep -q 'waiting for the database'", "waiting")
    _until(machine, f"{_READY.replace('--fail ', '')} | grep -q unavailable", "the edge's own 503")
    machine.sh("systemctl start postgresql")
    return f"started without a database, ready {_until_ready(machine):.0f} s after it came"


def stops_at_a_failed_migration(machine: Container) -> str:
    folder = "$(readlink -f /opt/gatehouse/current)/core_service/migrations"
    head = machine.sh(f"grep -ho 'core_[0-9]*' {folder}/core_*.py | sort | tail -n 1").strip()
    machine.sh(f"cat > {folder}/core_9999_bad.py <<'END'\n{_BAD_MIGRATION.format(head=head)}\nEND\n")
    machine.sh("systemctl stop gatehouse.target && systemctl start gatehouse.target", seconds=_SLOW_SECONDS)
    _until(machine, "systemctl is-failed --quiet gatehouse-migrate", "a failed migration")
    states = machine.sh("systemctl is-active gatehouse-auth gatehouse-core || true").split()
    machine.sh(f"rm {folder}/core_9999_bad.py && systemctl start gatehouse.target", seconds=_SLOW_SECONDS)
    _until_ready(machine)
    _require(states == ["inactive", "inactive"], f"after a failed migration auth and core are {states}")
    return "a failed migration starts neither auth nor core"


def runs_its_timers_work(machine: Container) -> str:
    before = len(machine.sh("ls /var/lib/gatehouse/backups").split())
    machine.sh("systemctl start gatehouse-backup gatehouse-logs gatehouse-probe", seconds=_SLOW_SECONDS)
    after = len(machine.sh("ls /var/lib/gatehouse/backups").split())
    _require(after > before, f"{before} backups before the timer's service ran, {after} after")
    timers = machine.sh("systemctl list-timers 'gatehouse*' --no-legend --no-pager").splitlines()
    _require(len(timers) == 3, f"timers: {timers}")
    return "backup, log rotation and probe run as their timers run them"


def stays_small(machine: Container) -> str:
    sizes = {name: int(machine.sh(f"systemctl show -P MemoryCurrent gatehouse-{name}")) for name in SERVICES}
    _require(max(sizes.values()) < MEMORY_BYTES_MAX, f"memory: {sizes}")
    return "memory: " + ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items())


def _until_ready(machine: Container) -> float:
    return _until(machine, _READY, "a ready stack")


def _until(machine: Container, condition: str, wanted: str) -> float:
    """Seconds until a shell condition holds. The machine tells nobody, so it is asked again and again."""
    started = time.monotonic()
    while True:
        try:
            machine.sh(f"{condition} > /dev/null")
        except ContainerError as error:
            if time.monotonic() - started > _READY_SECONDS:
                raise UnitsFailed(f"no {wanted} after {_READY_SECONDS:g} s: {error}") from None
            time.sleep(0.5)
        else:
            return time.monotonic() - started


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise UnitsFailed(otherwise)
