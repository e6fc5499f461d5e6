"""The archive script: a segment is kept whole or not at all, and never replaced."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from tests.tools import tool

SCRIPT = ROOT / "ops" / "postgres" / "archive-wal"
NAME = "000000010000000000000001"


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    path = tmp_path / "pg_wal" / NAME
    path.parent.mkdir()
    path.write_bytes(os.urandom(100_000))
    (tmp_path / "archive").mkdir()
    return path


def archive(segment: Path, name: str = NAME) -> subprocess.CompletedProcess[str]:
    directory = segment.parents[1] / "archive"
    return subprocess.run([SCRIPT, segment, name, directory], capture_output=True, text=True, timeout=20, check=False)


def kept(segment: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (segment.parents[1] / "archive").iterdir()}


def test_a_segment_is_kept_for_its_owner_only(segment: Path) -> None:
    assert archive(segment).returncode == 0
    assert kept(segment) == {NAME: segment.read_bytes()}
    assert stat.S_IMODE((segment.parents[1] / "archive" / NAME).stat().st_mode) == 0o600


def test_the_same_segment_again_is_a_success(segment: Path) -> None:
    assert [archive(segment).returncode for _ in range(2)] == [0, 0]
    assert len(kept(segment)) == 1


def test_another_segment_of_the_name_is_refused_and_the_first_stays(segment: Path) -> None:
    archive(segment)
    before = kept(segment)
    segment.write_bytes(b"another")
    refused = archive(segment)
    assert refused.returncode == 1
    assert "is another segment" in refused.stderr
    assert kept(segment) == before


def test_a_failure_leaves_no_file(segment: Path) -> None:
    segment.unlink()
    assert archive(segment).returncode == 1
    assert kept(segment) == {}
    assert archive(segment.with_name("nowhere"), "x/y").returncode == 1


def test_it_is_on_disk_before_it_is_a_success(segment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before it gets its name, the directory after."""
    (tmp_path / "bin").mkdir()
    for name in ("sync", "ln"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\necho {name} "$2" >> {tmp_path}/calls\nexec /bin/{name} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert archive(segment).returncode == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.partition(" ")[0] for call in calls] == ["sync", "ln", "sync"]
    assert calls[0].partition(" ")[2] == calls[1].partition(" ")[2]
    assert calls[2] == f"sync {tmp_path / 'archive'}"


def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run([tool("shellcheck"), SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == ""
