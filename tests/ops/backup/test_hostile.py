"""An archive that somebody else made: it writes nowhere but where a backup would, and takes no more room than one."""

import io
import tarfile
from pathlib import Path

import pytest

from ops import backup
from ops.backup import archive, unpacking
from ops.backup.errors import BackupFailed
from ops.backup.manifest import Manifest
from ops.backup.swap import Swap
from ops.stack import configuration

Environ = dict[str, str]


def forged(path: Path, *names: str) -> Path:
    """An archive whose manifest agrees with it, of empty members of those names."""
    with path.open("wb") as file, archive.writing(file, None) as writer:
        for name in names:
            writer.add_bytes(name, b"")
        writer.finish(Manifest("0.1.0", "2025-01-01T00:00:00Z", "h", ["certificates"], list(writer.members)))
    return path


@pytest.mark.parametrize("name", ["/{}", "certificates//{}", "certificates/../../{}", "certificates/./x", "../{}"])
def test_a_name_that_leads_out_of_its_folder_is_refused(placed: Environ, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    path = forged(tmp_path / "archive.tar.gz", name.format(str(outside).lstrip("/")))
    with pytest.raises(BackupFailed, match="which no backup of Gatehouse does"):
        backup.verify(path, None)
    read = configuration.read(placed)
    with pytest.raises(BackupFailed, match="which no backup of Gatehouse does"):
        unpacking.stage_certificates(Swap(read.place), read, path, None)
    assert not outside.exists()


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="which no backup of Gatehouse does"):
        backup.verify(forged(tmp_path / "archive.tar.gz", "certificates/a", "certificates/a"), None)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_only_plain_files_are_taken(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("certificates/a")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(BackupFailed, match="which no backup of Gatehouse does"):
        backup.verify(path, None)


def test_a_manifest_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = 65 << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(BackupFailed, match=r"manifest\.json is larger than any"):
        backup.verify(path, None)


def test_a_manifest_that_promises_a_database_must_have_one(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar.gz"
    with path.open("wb") as file, archive.writing(file, None) as writer:
        writer.finish(Manifest("0.1.0", "2025-01-01T00:00:00Z", "h", ["database", "secrets"], []))
    with pytest.raises(BackupFailed, match="contradicts itself about the database"):
        backup.verify(path, None)
