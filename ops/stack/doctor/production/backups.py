"""Is there a backup, is it fresh, was it ever restored, and would it survive this machine."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.backup import record
from ops.stack.doctor import Finding
from ops.stack.doctor.production.host import Host

HOURS_MAX = 26
DRILL_DAYS_MAX = 35


def check(host: Host) -> Iterator[Finding]:
    known = record.read(host.place)
    yield _fresh(known)
    yield _drilled(known)
    yield from _kept(host, known)


def _fresh(known: dict[str, Any]) -> Finding:
    good, failure = known["last_good"], known["last_failure"]
    if not good or not Path(good["path"]).exists():
        return Finding("Backup", "fail", "there is none", "run `gatehouse backup`, and enable its timer")
    hours = _hours(good["time"])
    if failure and failure["time"] > good["time"]:
        return Finding(
            "Backup", "fail", f"the last one failed: {failure['error']}", "mend that, run `gatehouse backup`"
        )
    if hours > HOURS_MAX:
        fix = "look at gatehouse-backup.timer (or your cron job), run `gatehouse backup`"
        return Finding("Backup", "fail", f"the last good one is {hours:.0f} h old", fix)
    return Finding("Backup", "ok", f"{good['name']}, {hours:.0f} h old")


def _drilled(known: dict[str, Any]) -> Finding:
    drill = known["last_drill"]
    fix = "run `gatehouse backup drill`: it restores into a scratch directory"
    if not drill:
        return Finding("Restore drill", "fail", "a backup was never restored", fix)
    if not drill["ok"]:
        return Finding("Restore drill", "fail", f"the last one failed: {drill['error']}", fix)
    days = _hours(drill["time"]) / 24
    if days > DRILL_DAYS_MAX:
        return Finding("Restore drill", "fail", f"the last one is {days:.0f} days old", fix)
    return Finding("Restore drill", "ok", f"{days:.0f} days ago")


def _kept(host: Host, known: dict[str, Any]) -> Iterator[Finding]:
    """What a lost disk, or a stranger with the archive, would mean."""
    folder = Path(known["directory"] or host.variable("BACKUP_DIRECTORY") or host.place.var / "backups")
    if not host.variable("BACKUP_PASSPHRASE"):
        fix = "set BACKUP_PASSPHRASE, and keep it somewhere else too"
        yield Finding("Backup secrecy", "warn", "archives hold the secrets and are not encrypted", fix)
    else:
        yield Finding("Backup secrecy", "ok", "archives are encrypted; keep the passphrase off this machine too")
    if folder.exists() and host.place.var.exists() and folder.stat().st_dev == host.place.var.stat().st_dev:
        fix = "copy them to another machine (rsync, restic, object storage), or mount another disk there"
        yield Finding("Backup place", "warn", f"{folder} is on the same disk as the data", fix)
    elif folder.exists():
        yield Finding("Backup place", "ok", f"{folder} is another file system; keep a copy off this machine")
    else:
        yield Finding("Backup place", "skip", f"{folder} does not exist yet")


def _hours(time: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds() / 3600
