"""The units' exact command lines under the units' limits, as systemd would start them; as root, unprivileged."""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.embedded.account import OUR_UIDS, Owner
from ops.embedded.home import can_enter
from ops.setup import place
from ops.setup.answers import Answers
from ops.setup.secret_files import OF_SERVICES, secret
from ops.stack.probe import fetch
from tests.ops.stacks import free_ports, until
from tests.ops.systemd.units import PROGRAMS, commands, of

CHECKOUT = Path(__file__).parents[3]
USER = OUR_UIDS.stop - 1


@pytest.fixture
def var() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gatehouse-tests-") as folder:
        Path(folder).chmod(0o711)
        var = Path(folder) / "var"
        for path in (var, var / "secrets", var / "run", var / "logs"):
            path.mkdir(mode=0o700)
        yield var


def settings(var: Path, database_url: str, redis_url: str) -> dict[str, str]:
    """Writes what `gatehouse setup --host` would, and returns the services' ports."""
    edge, auth, core = free_ports(3)
    values = {
        **Answers(domains="api.test", email="a@example.com", port=edge, workers=1).settings(),
        "AUTH_PORT": str(auth),
        "CORE_PORT": str(core),
        "LAME_DUCK_SECONDS": "0",
        "ALERT_HOOK": "",
    }
    (var / "gatehouse.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    kept = {name: secret() for name in OF_SERVICES} | {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    for name, value in kept.items():
        (var / "secrets" / name).write_text(value + "\n")
        (var / "secrets" / name).chmod(0o600)
    return {"edge": str(edge), "auth": str(auth), "core": str(core)}


@contextmanager
def started(service: str, var: Path, port: int) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """ExecStart of a service with systemd's side of the protocols: a socket to inherit, a socket to be told on."""
    unit = f"gatehouse-{service}.service"
    words = _mapped(commands(unit)[0])
    environ = dict(pair.split("=", 1) for line in of(unit, "Environment") for pair in line.split())
    environ = {name: _placed(value, var) for name, value in environ.items()}
    listening = socket.create_server(("127.0.0.1", port)) if service == "edge" else None
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(var / "run" / f"{service}-notify"))
    environ["NOTIFY_SOCKET"] = str(var / "run" / f"{service}-notify")
    shell = f'{_limits(unit)} && exec "$@"'
    if listening:
        environ |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": of("gatehouse-edge.socket", "FileDescriptorName")[0]}
        shell = f'{_limits(unit)} && LISTEN_PID=$$ exec "$@" 3<&{listening.fileno()} {listening.fileno()}<&-'
    is_other = _can_be_somebody_else()
    if is_other:
        for path in [var, *var.rglob("*")]:
            os.chown(path, USER, USER)
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *words],
        cwd=var,
        # Bytecode under that umask would be closed to whoever else runs this checkout.
        env={**environ, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        pass_fds=[listening.fileno()] if listening else [],
        umask=int(of(unit, "UMask")[0], 8),
        **({"user": USER, "group": USER, "extra_groups": []} if is_other else {}),
    )
    told.settimeout(60)
    try:
        yield process, told
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(45)
        told.close()
        if listening:
            listening.close()


def _limits(unit: str) -> str:
    """As far as this machine lets us."""
    files = min(int(of(unit, "LimitNOFILE")[0]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    return f"ulimit -n {files} && ulimit -c {of(unit, 'LimitCORE')[0]}"


def _mapped(words: list[str]) -> list[str]:
    return [str(sys.executable) if words[0] == f"{PROGRAMS}python" else words[0], *words[1:]]


def _placed(value: str, var: Path) -> str:
    return value.replace(str(place.ENV_FILE), str(var / "gatehouse.env")).replace(str(place.VAR), str(var))


def _heard(told: socket.socket, wanted: bytes) -> None:
    while wanted not in told.recv(4096).split(b"\n"):
        pass


def _can_be_somebody_else() -> bool:
    """As root, where an unprivileged user may read this Python and this checkout."""
    needed = (sys.prefix, sys.base_prefix, CHECKOUT)
    return os.geteuid() == 0 and all(can_enter(Path(path), Owner(USER, USER)) for path in needed)


def test_the_three_services_run_as_their_units_say(var: Path, database_url: str, clean_redis_url: str) -> None:
    ports = settings(var, database_url, clean_redis_url)
    with (
        started("auth", var, int(ports["auth"])) as (_, auth_told),
        started("core", var, int(ports["core"])) as (_, core_told),
        started("edge", var, int(ports["edge"])) as (edge, edge_told),
    ):
        for told in (auth_told, core_told, edge_told):
            _heard(told, b"READY=1")
        url = f"http://127.0.0.1:{ports['edge']}/health/ready"
        assert until(lambda: fetch(url)[0] == 200, 30), fetch(url)

        reload = commands("gatehouse-edge.service")[1:3]
        assert reload[1] == ["/bin/kill", "-HUP", "$MAINPID"]
        edge.send_signal(signal.SIGHUP)
        _heard(edge_told, b"RELOADING=1")
        _heard(edge_told, b"READY=1")
        assert fetch(url)[0] == 200

        edge.terminate()
        assert edge.wait(45) == 0
    assert {path.stat().st_mode & 0o077 for path in (var / "run").iterdir() if not path.is_socket()} <= {0}


def test_a_reload_that_the_settings_would_not_survive_fails_before_the_signal(var: Path) -> None:
    settings(var, "postgresql://u:p@127.0.0.1:1/x", "redis://127.0.0.1:1/0")
    check = _mapped(commands("gatehouse-edge.service")[1])
    environ = {"GATEHOUSE_VAR": str(var), "GATEHOUSE_ENV_FILE": str(var / "gatehouse.env"), "PATH": os.environ["PATH"]}
    assert check[1:] == ["-m", "edge", "check"]
    good = subprocess.run(check, env=environ, cwd=CHECKOUT, capture_output=True, timeout=60, check=False)
    assert good.returncode == 0, good.stderr
    with (var / "gatehouse.env").open("a") as file:
        file.write("EDGE_WORKERS=many\n")
    bad = subprocess.run(check, env=environ, cwd=CHECKOUT, capture_output=True, timeout=60, check=False)
    assert bad.returncode == 1
    assert b"EDGE_WORKERS" in bad.stderr
