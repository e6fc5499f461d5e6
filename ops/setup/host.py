"""A Debian or Ubuntu machine with systemd, from nothing to a stack that answers."""

import grp
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ops.release import Home, activate, install
from ops.setup import common_steps, place, settings_file, store
from ops.setup.answers import Answers
from ops.setup.common_steps import configure_store, make_database, make_secrets, write_settings
from ops.setup.front import default_front, front_fault, put_in_front
from ops.setup.machine import Machine
from ops.setup.secret_files import SecretFiles
from ops.setup.step import Step
from ops.setup.units import enable, install_units, is_enabled

SOURCE = Path(__file__).resolve().parents[2]
# Whoever is in one of these may become root.
_POWERFUL_GROUPS = ("sudo", "wheel", "admin", "docker", "lxd", "disk", "adm", "shadow")
_ROUTES = f"""\
# This machine's route table: what ships with the release, and your own services, one file each in routes.d/.
# `systemctl reload gatehouse-edge` brings a change into effect; a faulty table is refused whole.
include = ["{place.CURRENT}/edge/routes.toml", "routes.d/*.toml"]
"""
_WRAPPER = f"""\
#!/bin/sh
# The command of the release that is current, with this machine's settings. Made by `gatehouse setup --host`.
export GATEHOUSE_VAR="${{GATEHOUSE_VAR:-{place.VAR}}}"
export GATEHOUSE_ENV_FILE="${{GATEHOUSE_ENV_FILE:-{place.ENV_FILE}}}"
export PYTHONSAFEPATH=1
command={place.CURRENT}/.venv/bin/gatehouse
if [ "$(id -u)" = 0 ]; then
    # These change the machine, or what systemd runs. For all else root is more than it takes.
    case "${{1-}}" in
        setup | upgrade | restart | doctor | probe | status | front | -* | "") ;;
        *)
            export HOME={place.VAR}  # root's own is closed to that user, and libraries look there for certificates
            exec setpriv --reuid {place.USER} --regid {place.USER} --init-groups -- "$command" "$@"
            ;;
    esac
fi
exec "$command" "$@"
"""


def known(machine: Machine) -> dict[str, str]:
    """The settings of an earlier run."""
    return common_steps.known(machine, place.ENV_FILE, place.VAR / "secrets")


def front_before(machine: Machine, settings: Mapping[str, str]) -> str:
    """What stands in front; until a first set-up has come to its end, a program that is installed."""
    is_unfinished = "TRUSTED_PROXIES" in settings and not is_enabled(machine)
    return default_front(machine, is_first=not settings or is_unfinished)


def settings(machine: Machine, answers: Answers) -> dict[str, str]:
    """What the settings file is going to say."""
    found = settings_file.values(machine.read(place.ENV_FILE) or "")
    once = common_steps.before(known(machine), is_host=True, front=front_before(machine, found))
    own = {"EDGE_ROUTES": str(place.ROUTES), "LOG_TO": "files"}
    return {**answers.settings_over(found, once), **{name: found.get(name, value) for name, value in own.items()}}


def faults(machine: Machine, answers: Answers) -> list[str]:
    """What stands in the way, all at once, before anything is changed."""
    found = _machine_faults(answers) if machine.is_real else []
    if fault := front_fault(machine, answers):
        found.append(fault)
    if any(Path(answers.alert_hook).is_relative_to(home) for home in place.HOMES):
        found.append(f"--alert-hook: services may not look into {answers.alert_hook}: put it into /usr/local")
    if answers.database == "embedded" or answers.store == "embedded":
        found.append("--database and --store: under systemd the distribution's servers are used: `local`, or a URL")
    if answers.store == "local" and (fault := store.fault(machine)):
        found.append(f"--store: {fault}")
    return found


def steps(
    machine: Machine, answers: Answers, *, source: Path = SOURCE, renews: bool = False, starts: bool = True
) -> list[Step]:
    """In order; each looks before it acts."""
    elsewhere = settings_file.values(machine.read(place.ENV_FILE) or "")
    kept = SecretFiles(machine, place.VAR / "secrets", elsewhere, owner=place.USER)
    wanted = settings(machine, answers)
    header = {"var": str(place.VAR), "reload": "systemctl reload gatehouse-edge gatehouse-auth gatehouse-core"}
    listed = [
        Step("User", lambda: _user(machine)),
        Step("Directories", lambda: _folders(machine)),
        Step("Release", lambda: _release(machine, source)),
        Step("Command", lambda: _written(machine, place.WRAPPER, _WRAPPER, 0o755)),
        Step(
            "Settings",
            lambda: write_settings(machine, place.ENV_FILE, wanted, header=header, mode=0o640, group=place.USER),
        ),
        Step("Routes", lambda: _routes(machine)),
        Step("Secrets", lambda: make_secrets(kept, answers)),
        Step("Database", lambda: make_database(machine, kept, answers, renews=renews)),
        Step("Store", lambda: configure_store(machine, kept, answers)),
        Step("Units", lambda: install_units(machine, answers.port, elsewhere.get("BACKUP_DIRECTORY", ""))),
        Step("Bans", lambda: _bans(machine)),
        Step("Front", lambda: put_in_front(machine, answers)),
    ]
    return [*listed, Step("Start", lambda: enable(machine))] if starts else listed


def python_fault(prefix: Path) -> str | None:
    """Services cannot see home directories, so their Python must not be in one."""
    prefix = prefix.resolve()
    if any(prefix.is_relative_to(home) for home in place.HOMES):
        return (
            f"this Python is in {prefix}, where services may not look: run setup with the machine's own, "
            "as in `make clean && make PYTHON=/usr/bin/python3 venv`"
        )
    return None


def _machine_faults(answers: Answers) -> list[str]:
    found = []
    if not Path("/run/systemd/system").is_dir():
        found.append("--host needs systemd as the first process; elsewhere use --directory")
    if answers.database == "local" and not shutil.which("pg_ctlcluster") and not shutil.which("psql"):
        found.append("--database: PostgreSQL is not installed: apt-get install postgresql, or give a URL")
    faults = (python_fault(Path(sys.base_prefix)), _user_fault())
    return [*found, *(fault for fault in faults if fault)]


def _user_fault() -> str | None:
    groups = [group.gr_name for group in grp.getgrall() if place.USER in group.gr_mem]
    if bad := sorted(set(groups) & set(_POWERFUL_GROUPS)):
        fix = f"gpasswd -d {place.USER} {bad[0]}"
        return f"the user {place.USER} is in {', '.join(bad)}, which a service must not be: {fix}"
    return None


def _user(machine: Machine) -> list[str]:
    if not machine.is_real or machine.succeeds("id", place.USER):
        return []
    machine.run(
        "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", place.VAR,
        "--shell", "/usr/sbin/nologin", "--comment", "Gatehouse", place.USER,
    )  # fmt: skip
    return [f"user and group {place.USER} made, without a shell"]


def _folders(machine: Machine) -> list[str]:
    wanted = [
        (place.ETC, 0o750, "root", place.USER),
        (place.ETC / "routes.d", 0o750, "root", place.USER),
        (place.VAR, 0o700, place.USER, place.USER),
        *((place.VAR / name, 0o700, place.USER, place.USER) for name in place.FOLDERS),
        (place.HOME, 0o755, "root", "root"),
    ]
    return [f"{path} made" for path, mode, owner, group in wanted if machine.directory(path, mode, owner, group)]


def _release(machine: Machine, source: Path) -> list[str]:
    """The first one only: from then on `gatehouse upgrade` changes it, which loses no request."""
    home = Home(machine.at(place.HOME))
    if home.current_release() is not None:
        return []
    if machine.only_shows:
        return [f"{source} installed below {place.HOME}/releases"]
    release = install(source, home)
    activate(release)
    return [f"{release.name} installed and current"]


def _routes(machine: Machine) -> list[str]:
    """Once: from then on it is the machine's own."""
    if machine.has(place.ROUTES):
        return []
    return _written(machine, place.ROUTES, _ROUTES, 0o640, place.USER)


def _bans(machine: Machine) -> list[str]:
    """fail2ban's filter and jail, where fail2ban is installed."""
    target = Path("/etc/fail2ban")
    if not machine.has(target):
        return []
    done = []
    for path in sorted((SOURCE / "ops" / "fail2ban").rglob("*.conf")):
        done += _written(machine, target / path.relative_to(SOURCE / "ops" / "fail2ban"), path.read_text(), 0o644)
    if done or (machine.is_real and not machine.succeeds("systemctl", "is-active", "--quiet", "fail2ban")):
        # The jail wants its log to be there.
        machine.run("systemctl", "enable", "--quiet", "fail2ban")
        log = place.VAR / "logs" / "edge.log"
        if not machine.has(log):
            machine.write(log, "", 0o600, place.USER, place.USER)
        machine.run("systemctl", "restart", "fail2ban")
        done.append("fail2ban restarted")
    return done


def _written(machine: Machine, path: Path, text: str, mode: int, group: str = "root") -> list[str]:
    return [f"{path} written"] if machine.write(path, text, mode, "root", group) else []
