"""Who can read the secrets, and what the account of the services may do."""

import grp
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from dotenv import dotenv_values

from ops import secrets
from ops.stack.doctor import Finding
from ops.stack.doctor.production.host import Host

_SECRET = (*secrets.NAMES, "JWT_SECRET", "BACKUP_PASSPHRASE")
_POWERFUL = ("sudo", "wheel", "docker", "lxd", "disk", "shadow")
_NO_LOGIN = ("nologin", "false")


def check(host: Host) -> Iterator[Finding]:
    yield _settings_file(host)
    yield _git(host)
    yield _certificates(host)
    yield account("gatehouse")


def _settings_file(host: Host) -> Finding:
    """Settings belong there, secrets into `$GATEHOUSE_VAR/secrets/`."""
    path = Path(host.configuration.environ.get("GATEHOUSE_ENV_FILE") or ".env").absolute()
    if not path.is_file():
        return Finding("Settings file", "ok", f"there is no {path}")
    try:
        values = dotenv_values(path)
    except (OSError, UnicodeDecodeError):
        return Finding("Settings file", "skip", f"{path} cannot be read by this user", "run this as the services' user")
    directory = host.place.var / "secrets"
    if held := [name for name in _SECRET if values.get(name)]:
        fix = f"move each into a file of {directory}, mode 0600, and make a new one where the file was shared"
        return Finding("Settings file", "fail", f"{path} holds secrets: {', '.join(held)}", fix)
    if path.stat().st_mode & stat.S_IRWXO:
        return Finding("Settings file", "fail", f"{path} is open to everyone", f"chmod 640 {path}")
    if open_urls := [name for name, value in values.items() if value and "://" in value and _has_password(value)]:
        detail = f"{path} holds passwords in {', '.join(open_urls)}"
        return Finding("Settings file", "warn", detail, f"put these into files of {directory} too")
    return Finding("Settings file", "ok", f"{path} holds no secret and is closed to others")


def _has_password(url: str) -> bool:
    return ":" in url.partition("://")[2].rpartition("@")[0]


def _git(host: Host) -> Finding:
    """State and settings file must be in no repository."""
    settings = Path(host.configuration.environ.get("GATEHOUSE_ENV_FILE") or ".env").absolute()
    paths = [path for path in (host.place.var, settings) if path.exists()]
    tracked, unknown = [], []
    for path in paths:
        code, said = host.run("git", "-C", str(path.parent), "ls-files", "--", str(path))
        if code == 0 and said:
            tracked.append(str(path))
        elif code not in (0, 128) or "dubious ownership" in said:
            unknown.append(said.splitlines()[0])
    if tracked:
        fix = "git rm -r --cached them, make new secrets, and rewrite what was pushed"
        return Finding("Git", "fail", f"tracked by git: {', '.join(tracked)}", fix)
    if unknown:
        return Finding("Git", "skip", unknown[0])
    return Finding("Git", "ok", "neither state nor settings file is tracked")


def _certificates(host: Host) -> Finding:
    """Private keys that others can read are as good as published."""
    folder = host.place.var / "certs"
    try:
        files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        keys = [path for path in files if path.suffix in (".key", ".json") or b"PRIVATE KEY" in path.read_bytes()]
    except OSError as error:
        return Finding("Private keys", "skip", f"{error.filename} cannot be read by this user")
    if opened := [str(path) for path in keys if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]:
        return Finding("Private keys", "fail", f"open to others: {', '.join(opened)}", f"chmod 600 {' '.join(opened)}")
    return Finding("Private keys", "ok", f"{len(keys)} in {folder}, closed to others" if keys else f"none in {folder}")


def account(name: str) -> Finding:
    """The services' user must be nobody in particular."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return Finding("Account", "skip", f"there is no user {name} on this machine")
    groups = [group.gr_name for group in grp.getgrall() if name in group.gr_mem or group.gr_gid == entry.pw_gid]
    faults = [f"is in group {group}" for group in groups if group in _POWERFUL]
    faults += ["is root"] if entry.pw_uid == 0 else []
    faults += [] if entry.pw_shell.endswith(_NO_LOGIN) else [f"has the shell {entry.pw_shell}"]
    if faults:
        fix = f"gpasswd -d {name} GROUP; usermod --shell /usr/sbin/nologin {name}"
        return Finding("Account", "fail", f"{name} {', '.join(faults)}", fix)
    return Finding("Account", "ok", f"{name}: no shell, no powerful group")
