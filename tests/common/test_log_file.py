"""A process whose log is a file follows it through renames, with its standard error, and never fails for it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Obeys one order a line on its standard input, and answers each on a pipe of its own.
PROGRAM = """
import os, resource, signal, sys, traceback, structlog
from common import logs

answers = os.fdopen(int(sys.argv[2]), "w")
logs.configure("edge", file=sys.argv[1])
log = structlog.get_logger()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for order in sys.stdin:
    kind, _, text = order.strip().partition(" ")
    if kind == "log":
        log.info(text)
    elif kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(text), resource.RLIM_INFINITY))
    else:
        print(text, file=sys.stderr, flush=True)
    print("done", file=answers, flush=True)
"""


class Speaker:
    def __init__(self, process: "subprocess.Popen[str]", answers: int) -> None:
        self._process = process
        self._answers = os.fdopen(answers)

    def __call__(self, order: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        assert self._answers.readline() == "done\n"

    def close(self) -> None:
        self._answers.close()
        self._process.communicate(timeout=30)
        assert self._process.returncode == 0


@contextmanager
def speaker(log: Path) -> Iterator[Speaker]:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(log), str(writing)], stdin=subprocess.PIPE, pass_fds=[writing], text=True
    )
    os.close(writing)
    speak = Speaker(process, reading)
    try:
        yield speak
    finally:
        speak.close()


def events(log: Path) -> list[str]:
    return [json.loads(line)["event"] if line.startswith("{") else line for line in log.read_text().splitlines()]


def test_a_renamed_log_is_left_and_a_new_one_made(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "edge.log"
    with speaker(log) as speak:
        speak("log one")
        assert log.stat().st_mode & 0o777 == 0o600
        assert log.parent.stat().st_mode & 0o777 == 0o700
        log.rename(tmp_path / "older")
        speak("log two")
        speak("stderr Traceback of two")
        log.unlink()
        speak("log three")
    assert events(tmp_path / "older") == ["one"]
    assert events(log) == ["three"]


def test_standard_error_goes_to_the_same_file(tmp_path: Path) -> None:
    log = tmp_path / "edge.log"
    with speaker(log) as speak:
        speak("stderr Traceback")
        log.rename(tmp_path / "older")
        speak("stderr before it has looked")
        speak("log two")
        speak("stderr Traceback of two")
    assert events(tmp_path / "older") == ["Traceback", "before it has looked"]
    assert events(log) == ["two", "Traceback of two"]


def test_what_a_full_disk_cuts_off_spoils_no_other_line_and_is_counted(tmp_path: Path) -> None:
    log = tmp_path / "edge.log"
    with speaker(log) as speak:
        speak("log one")
        speak(f"limit {log.stat().st_size + 10}")  # as a full disk: the next line fits in part, the others not at all
        speak("log two")
        speak("log three")
        speak("limit 1000000")
        speak("log four")
        speak("log five")
    lines = log.read_text().splitlines()
    assert lines[1] == '{"time":"2'
    told = [json.loads(line) for line in (lines[0], *lines[2:])]
    assert [entry["event"] for entry in told] == ["one", "four", "log_lines_lost", "five"]
    assert told[2]["lines"] == 2


def test_a_folder_that_is_gone_is_made_again_and_what_cannot_be_is_borne(tmp_path: Path) -> None:
    folder, log = tmp_path / "logs", tmp_path / "logs" / "edge.log"
    with speaker(log) as speak:
        speak("log one")
        folder.rename(tmp_path / "moved")
        folder.write_text("in the way")
        speak("log two")  # goes to where it went before
        folder.unlink()
        speak("log three")
    assert events(tmp_path / "moved" / "edge.log") == ["one", "two"]
    assert events(log) == ["three"]
