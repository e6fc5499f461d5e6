"""What a host and a directory have in common: the settings file, the secrets, the servers' URLs."""

from collections.abc import Mapping
from pathlib import Path

from ops.setup import settings_file, store
from ops.setup.answers import COMMENTS, Answers, from_settings
from ops.setup.database import PEER_URL, as_user, local_url, make
from ops.setup.machine import Machine
from ops.setup.secret_files import OF_SERVICES, SecretFiles
from ops.setup.server import ROLES, URLS, Names, can_sign_in
from ops.stack.errors import StackError

_HEADER = """\
# Settings of Gatehouse on this machine; .env.example of the release explains each. No secrets: those are files below
# {var}/secrets. After a change: {reload}
"""


def known(machine: Machine, env_file: Path, secrets: Path) -> dict[str, str]:
    """What an earlier run, or somebody's hands, left: the settings file, and where the servers are."""
    found = settings_file.values(machine.read(env_file) or "")
    for name in ("DATABASE_URL", "MIGRATE_DATABASE_URL", "REDIS_URL"):
        if text := machine.read(secrets / name):
            found[name] = text.strip()
    return found


def before(known: Mapping[str, str], *, is_host: bool, front: str = "none") -> Answers:
    """The answers that `known` settings came of."""
    return Answers(**{"front": front, **from_settings(known, is_host=is_host)})


def write_settings(
    machine: Machine, path: Path, wanted: Mapping[str, str], *, header: Mapping[str, str], mode: int, group: str
) -> list[str]:
    """Sets what was asked for; other lines stay as they are."""
    before = machine.read(path)
    text = _HEADER.format(**header) if before is None else before
    names = settings_file.changed(text, wanted)
    if not machine.write(path, settings_file.merged(text, wanted, COMMENTS), mode, "root", group):
        return []
    return [
        f"{machine.at(path)} made"
        if before is None
        else f"{machine.at(path)}: {', '.join(names) or 'mode and owner'} set"
    ]


def make_secrets(kept: SecretFiles, answers: Answers) -> list[str]:
    """Those that are missing, and the URLs that were given. Raises StackError."""
    if weak := kept.weak():
        raise StackError("\n".join(weak))
    for name in OF_SERVICES:
        kept.ensure(name)
    if answers.database == "embedded":
        for name in ("POSTGRES_PASSWORD", "AUTH_DB_PASSWORD", "CORE_DB_PASSWORD"):
            kept.ensure(name)
    elif "://" in answers.database:
        kept.keep("DATABASE_URL", answers.database)
    if answers.store in {"local", "embedded"}:
        kept.ensure("REDIS_PASSWORD")
    else:
        kept.keep("REDIS_URL", answers.store)
    return [f"{name} made" for name in kept.made]


def make_database(machine: Machine, kept: SecretFiles, answers: Answers, *, renews: bool = False) -> list[str]:
    """Raises StackError."""
    names = Names(answers.database_name)
    if not answers.admin_url and (answers.database != "local" or not machine.is_real):
        return []  # below a --root there is no server of this machine
    if machine.only_shows:
        is_there = can_sign_in(kept.all(URLS))
        return [] if is_there else [f"database {names.database} and its roles {', '.join(map(names.role, ROLES))} made"]
    if answers.admin_url:
        return make(answers.admin_url, names, kept, renews=renews)
    runs = as_user("postgres")
    return make(PEER_URL, names, kept, renews=renews, base_url=local_url(runs), runs=runs)


def configure_store(machine: Machine, kept: SecretFiles, answers: Answers) -> list[str]:
    """Raises StackError."""
    if answers.store != "local":
        return []
    password = kept.ensure("REDIS_PASSWORD")
    done = store.configure(machine, password)
    if not kept.get("REDIS_URL"):
        kept.keep("REDIS_URL", store.url(machine, password))
        done.append("REDIS_URL kept")
    return done
