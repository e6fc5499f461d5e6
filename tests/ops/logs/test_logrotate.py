"""The logrotate configuration, checked and run by logrotate itself, against a process that goes on writing."""

import getpass
import grp
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops.logs import files
from tests.tools import tool

SHIPPED = Path(__file__).parents[3] / "ops" / "logrotate" / "gatehouse"
WRITER = """
import sys, structlog
from common import logs

logs.configure("edge", file=sys.argv[1])
log = structlog.get_logger()
number = 0
while sys.stdin.readline():  # a turn for every line it gets
    for number in range(number, number + 500):
        log.info("numbered", number=number)
    number += 1
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """The shipped one, for a folder and a user of ours."""
    (tmp_path / "logs").mkdir(mode=0o700)
    text = SHIPPED.read_text().replace("/var/lib/gatehouse/logs", str(tmp_path / "logs"))
    text = text.replace("su gatehouse gatehouse", f"su {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}")
    assert str(tmp_path) in text
    path = tmp_path / "gatehouse"
    path.write_text(text)
    path.chmod(0o644)
    return path


def logrotate(configuration: Path, *options: str) -> str:
    done = subprocess.run(
        [tool("logrotate"), *options, "--state", configuration.with_name("state"), configuration],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_logrotate_finds_nothing_wrong_with_it(configuration: Path) -> None:
    (configuration.parent / "logs" / "edge.log").write_text("{}\n")
    said = logrotate(configuration, "-d")
    assert "error" not in said
    assert re.search(r"after 1 days .*\(30 rotations\)", said)
    assert "empty log files are not rotated" in said


def test_forced_rotation_under_a_writer_loses_no_line(configuration: Path) -> None:
    log = configuration.parent / "logs" / "edge.log"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(log)], stdin=subprocess.PIPE, text=True)
    assert process.stdin
    for _ in range(4):
        # The turn is under way when logrotate renames: its lines end up on both sides.
        before = files.older(log)
        process.stdin.write("\n")
        process.stdin.flush()
        while not log.exists() or log.stat().st_size == 0:
            assert process.poll() is None
        logrotate(configuration, "-f")
        assert len(files.older(log)) == len(before) + 1
    process.communicate(timeout=30)
    written = [json.loads(text)["number"] for path in (*files.older(log), log) for text in files.lines(path)]
    assert written == list(range(2000))
    assert sum(files.is_compressed(path) for path in files.older(log)) == 3
