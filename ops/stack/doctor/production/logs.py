"""Logs stay within their policy: LOG_SIZE_MAX, LOG_FILES_MAX, LOG_RETENTION_DAYS."""

import time
from collections.abc import Iterator
from pathlib import Path

from common.settings import Settings, SettingsError, load
from ops.stack.doctor import Finding
from ops.stack.doctor.production.host import Host

# Rotation comes round once a day at least; a log may grow past its size until then.
_SIZE_FACTOR, _DAYS_OVER = 2, 2
_DAY_SECONDS = 86_400


def check(host: Host) -> Iterator[Finding]:
    try:
        policy = load(Settings, host.configuration.environ)
    except SettingsError as error:
        yield Finding("Log rotation", "skip", f"its policy cannot be read: {error}")
        return
    folder = host.place.logs
    try:
        files = {path: path.stat() for path in folder.iterdir() if path.is_file()} if folder.is_dir() else {}
    except OSError as error:
        yield Finding("Log rotation", "skip", f"{folder} cannot be read: {error.strerror}")
        return
    if not files:
        yield Finding("Log rotation", "skip", f"no logs in {folder} yet")
        return
    large = [path.name for path, found in files.items() if found.st_size > _SIZE_FACTOR * policy.log_size_max]
    oldest = time.time() - (policy.log_retention_days + _DAYS_OVER) * _DAY_SECONDS
    old = [path.name for path, found in files.items() if found.st_mtime < oldest and not _is_current(path)]
    open_to_all = [path.name for path, found in files.items() if found.st_mode & 0o007]
    total = sum(found.st_size for found in files.values())
    faults = [f"{name} is far over {policy.log_size_max.human_readable()}" for name in large]
    faults += [f"{name} is older than {policy.log_retention_days} days" for name in old]
    if faults:
        fix = "enable rotation: gatehouse-logs.timer, or the logrotate file that ships"
        yield Finding("Log rotation", "fail", "; ".join(faults), fix)
    else:
        yield Finding("Log rotation", "ok", f"{len(files)} files, {total / 1e6:.1f} MB, within the policy")
    if open_to_all:
        yield Finding("Log access", "fail", f"open to everyone: {', '.join(open_to_all)}", f"chmod o-rwx {folder}/*")
    else:
        yield Finding("Log access", "ok", "closed to others")


def _is_current(path: Path) -> bool:
    return path.suffix == ".log"
