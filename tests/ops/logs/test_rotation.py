"""Rotation loses no line and duplicates none, holds its limits, and leaves the writers going."""

import fcntl
import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.settings import SettingsError
from ops.logs import files, rotation
from ops.logs.rotation import Policy, rotate

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
POLICY = Policy(days=30, bytes_max=1000, files_max=100)

# Every batch is written by itself, so that a rotation falls between any two.
WRITER = """
import sys, structlog
from common import logs

logs.configure("edge", file=sys.argv[1])
log = structlog.get_logger()
for number in range(int(sys.argv[3])):
    log.info("numbered", writer=sys.argv[2], number=number)
"""

ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from ops.logs.rotation import Policy, rotate

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
rotate(Path(sys.argv[1]), Policy(days=10**4, bytes_max=10**9, files_max=9))
"""


def line(time: datetime, text: str = "x") -> str:
    return json.dumps({"time": f"{time:%Y-%m-%dT%H:%M:%S}.000Z", "event": text}) + "\n"


def all_lines(log: Path) -> list[str]:
    return [text for path in (*files.older(log), log) for text in files.lines(path)]


def test_rotation_at_full_speed_loses_no_line_and_duplicates_none(tmp_path: Path) -> None:
    log, count = tmp_path / "edge.log", 20_000
    words = [[sys.executable, "-c", WRITER, str(log), name, str(count)] for name in ("a", "b")]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in words]
    rotations = 0
    try:
        while any(writer.poll() is None for writer in writers):
            report = rotate(tmp_path, Policy(days=30, bytes_max=1000, files_max=10**6), is_forced=True)
            rotations += len(report.rotated)
    finally:
        for writer in writers:
            _, said = writer.communicate(timeout=60)
            assert writer.returncode == 0, said
    assert rotations > 20
    written = [json.loads(text) for text in all_lines(log)]
    for name in ("a", "b"):
        assert [entry["number"] for entry in written if entry["writer"] == name] == list(range(count))
    assert sum(files.is_compressed(path) for path in files.older(log)) >= rotations - 2


def test_a_log_is_put_aside_at_its_size_and_on_a_new_day_and_never_empty(tmp_path: Path) -> None:
    today, large, yesterday, empty, untimed = (
        tmp_path / f"{n}.log" for n in ("today", "large", "old", "empty", "plain")
    )
    today.write_text(line(NOON))
    large.write_text(line(NOON) * 100)
    yesterday.write_text("Traceback\n" + line(NOON - timedelta(days=1)) + line(NOON))
    empty.touch()
    untimed.write_text("no time at all\n")
    report = rotate(tmp_path, POLICY, now=NOON)
    assert report.rotated == ["large.log-20260102T120000.000000Z", "old.log-20260102T120000.000000Z"]
    assert rotate(tmp_path, POLICY, now=NOON) == rotation.Report()
    forced = rotate(tmp_path, POLICY, now=NOON, is_forced=True)
    assert [name.partition(".")[0] for name in forced.rotated] == ["plain", "today"]


def test_compression_comes_one_rotation_later_and_keeps_mode_time_and_content(tmp_path: Path) -> None:
    log = tmp_path / "edge.log"
    for number in range(3):
        log.write_text(line(NOON, str(number)))
        log.chmod(0o640)
        os.utime(log, (NOON.timestamp(), NOON.timestamp() + number))
        rotate(tmp_path, POLICY, now=NOON, is_forced=True)
    older = files.older(log)
    assert [files.is_compressed(path) for path in older] == [True, True, False]
    assert {path.stat().st_mode & 0o777 for path in older} == {0o640}
    assert [path.stat().st_mtime - NOON.timestamp() for path in older] == [0, 1, 2]
    assert [json.loads(text)["event"] for text in all_lines(log)] == ["0", "1", "2"]


def test_count_and_age_limits_hold(tmp_path: Path) -> None:
    log = tmp_path / "edge.log"
    policy = Policy(days=7, bytes_max=1000, files_max=5)
    for day in range(10):
        log.write_text(line(NOON + timedelta(days=day), str(day)))
        os.utime(log, ((NOON + timedelta(days=day)).timestamp(),) * 2)
        rotate(tmp_path, policy, now=NOON + timedelta(days=day, hours=1), is_forced=True)
    assert [json.loads(text)["event"] for text in all_lines(log)] == ["5", "6", "7", "8", "9"]
    report = rotate(tmp_path, policy, now=NOON + timedelta(days=15))
    assert len(report.removed) == 3  # 5, 6 and 7 are more than 7 days old
    assert [json.loads(text)["event"] for text in all_lines(log)] == ["8", "9"]


def test_nothing_else_in_the_folder_is_touched(tmp_path: Path) -> None:
    foreign = ["edge.log.1", "edge.log.2.gz", "edge.log-20250101", "notes.txt", "edge.log-20250101T000000Z"]
    for name in foreign:
        (tmp_path / name).write_text(line(NOON - timedelta(days=400)))
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / "elsewhere.log").symlink_to(tmp_path / "notes.txt")
    assert rotate(tmp_path, Policy(days=1, bytes_max=1, files_max=1), now=NOON, is_forced=True) == rotation.Report()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".rotation.lock") == sorted(
        [*foreign, "elsewhere.log"]
    )


def test_a_server_that_keeps_its_file_goes_on_in_it(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    with log.open("ab", buffering=0) as server:
        server.write(b"2026-01-01 10:00:00.000 UTC [7] LOG:  one\n")
        rotate(tmp_path, POLICY, now=NOON)
        server.write(b"2026-01-02 10:00:00.000 UTC [7] LOG:  two\n")
    assert log.read_text().endswith("two\n")
    assert [text[-3:] for text in all_lines(log)] == ["one", "two"]


def test_a_file_that_somebody_is_writing_to_is_not_compressed(tmp_path: Path) -> None:
    log = tmp_path / "edge.log"
    log.write_text(line(NOON, "held"))
    with log.open("ab", buffering=0) as writer:
        rotate(tmp_path, POLICY, now=NOON, is_forced=True)
        fcntl.flock(writer, fcntl.LOCK_SH)
        log.write_text(line(NOON, "next"))
        assert rotate(tmp_path, POLICY, now=NOON, is_forced=True).compressed == []
        writer.write(line(NOON, "late").encode())
        fcntl.flock(writer, fcntl.LOCK_UN)
    assert len(rotate(tmp_path, POLICY, now=NOON).compressed) == 1
    assert [json.loads(text)["event"] for text in all_lines(log)] == ["held", "late", "next"]


def test_a_rotation_that_hangs_holds_up_no_other_for_long(tmp_path: Path) -> None:
    log = tmp_path / "edge.log"
    log.write_text(line(NOON))
    with (tmp_path / ".rotation.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match=r"another rotation is at it for over 0\.2 s: .*rotation\.lock"):
            rotate(tmp_path, POLICY, now=NOON, is_forced=True, wait_seconds=0.2)
    assert len(rotate(tmp_path, POLICY, now=NOON, is_forced=True, wait_seconds=0.2).rotated) == 1


def test_a_log_that_cannot_be_rotated_keeps_no_other_from_it_and_nothing_old(tmp_path: Path) -> None:
    """As on a full disk, where compressing fails: what is removed by policy must go all the same."""
    core, edge = tmp_path / "core.log", tmp_path / "edge.log"
    for number in range(3):
        for log in (core, edge):
            log.write_text(line(NOON, str(number)))
        rotate(tmp_path, POLICY, now=NOON, is_forced=True)
    core.write_text(line(NOON, "3"))
    (tmp_path / f"{files.older(core)[-1].name}.gz.partial").mkdir()  # in the way of the next compression
    edge.write_text(line(NOON, "3"))
    with pytest.raises(OSError, match=r"core\.log.*gz\.partial"):
        rotate(tmp_path, Policy(days=30, bytes_max=1, files_max=2), now=NOON)
    assert [json.loads(text)["event"] for text in all_lines(core)] == ["2", "3"]
    assert [json.loads(text)["event"] for text in all_lines(edge)] == ["2", "3"]
    assert [files.is_compressed(path) for path in files.older(edge)] == [True, False]


def test_what_a_full_disk_left_of_a_compression_is_removed(tmp_path: Path) -> None:
    for day in (1, 2):
        (tmp_path / f"edge.log-2026010{day}T000000.000000Z").write_bytes(os.urandom(100_000).hex().encode())
    (tmp_path / ".rotation.lock").touch()
    before = sorted(tmp_path.iterdir())
    words = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupted_compression_is_done_again(tmp_path: Path) -> None:
    log = tmp_path / "edge.log"
    for event in ("one", "two"):
        log.write_text(line(NOON, event))
        rotate(tmp_path, POLICY, now=NOON, is_forced=True)
    first = files.older(log)[0]
    first.with_suffix("").write_bytes(gzip.decompress(first.read_bytes()))  # as if it died before the removal
    (tmp_path / f"{files.older(log)[-1].name}.gz.partial").write_bytes(b"half")
    assert [json.loads(text)["event"] for text in all_lines(log)] == ["one", "two"]
    rotate(tmp_path, POLICY, now=NOON)
    assert [files.is_compressed(path) for path in files.older(log)] == [True, False]
    assert [json.loads(text)["event"] for text in all_lines(log)] == ["one", "two"]


@pytest.mark.parametrize("size", ["much", "5parsecs", "-1"])
def test_a_size_that_is_none_is_refused_in_words(size: str) -> None:
    with pytest.raises(SettingsError, match=r"^LOG_SIZE_MAX: must be a size such as 20MB or 100MiB$"):
        Policy.read({"GATEHOUSE_ENV_FILE": "/nonexistent", "LOG_SIZE_MAX": size})


@pytest.mark.parametrize(
    ("size", "read"), [("10M", 10_000_000), ("20MB", 20_000_000), ("1MiB", 1 << 20), ("4096", 4096), ("", 100 << 20)]
)
def test_the_policy_comes_from_the_settings(size: str, read: int) -> None:
    environ = {
        "GATEHOUSE_ENV_FILE": "/nonexistent",
        "LOG_SIZE_MAX": size,
        "LOG_FILES_MAX": "5",
        "LOG_RETENTION_DAYS": "7",
    }
    assert Policy.read(environ) == Policy(days=7, bytes_max=read, files_max=5)
