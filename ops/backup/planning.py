"""What a restore is about to do: an archive chosen and verified, and whatever would stop it found before it begins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ops.backup import options, unpacking
from ops.backup.choosing import Say, choose
from ops.backup.errors import BackupFailed
from ops.backup.making import Progress
from ops.backup.manifest import Manifest
from ops.stack import configuration
from ops.stack.configuration import Configuration

USUAL_PARTS = ("database", "secrets", "certificates")


@dataclass(frozen=True)
class Plan:
    """What is about to be done, verified and not begun."""

    read: Configuration
    archive: Path
    manifest: Manifest
    parts: tuple[str, ...]
    passphrase: str | None
    secrets: Mapping[str, bytes]


def plan(
    source: Path,
    *,
    parts: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    say: Say = lambda _: None,
    progress: Progress = lambda *_: None,
    ask_passphrase: Callable[[], str | None] = lambda: None,
) -> Plan:
    """Chooses and verifies an archive and looks for whatever would stop the restore. Changes nothing.

    parts            those to restore; without any: database, secrets, certificates
    ask_passphrase   asked when an archive needs one and BACKUP_PASSPHRASE is not set
    Raises BackupFailed.
    """
    read = configuration.read(environ)
    passphrase = options.read(read.place, read.environ).passphrase or ask_passphrase()
    wanted = parts or USUAL_PARTS
    required = parts or ("database", "secrets")
    path, manifest = choose(
        source, required, passphrase, say=say, progress=lambda done: progress("Checking the archive", done, None)
    )
    _refuse_newer(path, manifest)
    chosen = tuple(part for part in wanted if part in manifest.parts)
    secrets = unpacking.read_secrets(path, passphrase) if "secrets" in manifest.parts else {}
    if "secrets" in chosen and (names := unpacking.conflicts(secrets, read.environ)):
        raise BackupFailed(
            f"the environment sets {', '.join(names)} to another value than the backup has: "
            f"unset {'it' if len(names) == 1 else 'them'}, or the restored data cannot be opened"
        )
    return Plan(read, path, manifest, chosen, passphrase, secrets)


def _refuse_newer(path: Path, manifest: Manifest) -> None:
    if _numbers(manifest.version) > _numbers(version("gatehouse")):
        raise BackupFailed(
            f"{path} was made by Gatehouse {manifest.version} and this is {version('gatehouse')}: "
            "restore with that version or a newer one"
        )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.partition("+")[0].split(".") if part.isdigit())
