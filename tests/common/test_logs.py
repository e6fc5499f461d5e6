"""Log lines: one JSON object each, complete, without secrets."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from common.logs import LineWriter, render

PROGRAM = """
import logging, structlog
from uuid import uuid4
from common import logs

logs.configure("sample", "INFO")
log = structlog.get_logger()
with structlog.contextvars.bound_contextvars(request_id="req_12345678"):
    log.info("first", count=1, password="hunter2", authorization="ApiKey hunter2", id=uuid4(), odd=object())
log.info("bytes_from_afar", user=b"\\xff".decode(errors="surrogateescape"))
log.debug("unseen")
logging.getLogger("library").warning("from %s", "afar")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
"""


def lines_of(program: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30)
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_lines_are_json_with_time_level_service_and_request_id() -> None:
    first, bytes_from_afar, library, broken = lines_of(PROGRAM)
    assert list(first)[:4] == ["time", "level", "service", "event"]
    assert (first["level"], first["service"], first["event"], first["count"]) == ("info", "sample", "first", 1)
    assert first["request_id"] == "req_12345678"
    assert bytes_from_afar["user"] == "\\udcff"
    assert (library["level"], library["message"], library["logger"]) == ("warning", "from afar", "library")
    assert broken["level"] == "error"
    assert "ZeroDivisionError" in broken["exception"]


class Unprintable:
    def __repr__(self) -> str:
        raise LookupError("no words")


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("caf\udce9", "caf\\udce9"),
        (["\udcff"], "['\\udcff']"),
        (2**70, str(2**70)),
        (10**5000, "<int without a repr>"),
        (b"\xff", "b'\\xff'"),
        (Unprintable(), "<Unprintable without a repr>"),
        (CIRCLE, "[[...]]"),
        ({1: 2}, "{1: 2}"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_hold_is_written_as_text_and_spoils_no_other_field(value: Any, written: str) -> None:
    line = json.loads(render({"event": "request", "path": "/é", "tags": ["a"], "odd": value}))
    assert line == {"event": "request", "path": "/é", "tags": ["a"], "odd": written}


def test_any_key_is_written() -> None:
    assert json.loads(render({"a\udcff": 1, None: 2})) == {"a\\udcff": 1, "None": 2}  # type: ignore[dict-item]


def test_secrets_are_redacted_should_one_slip_in() -> None:
    first = lines_of(PROGRAM)[0]
    assert (first["password"], first["authorization"]) == ("[redacted]", "[redacted]")


async def test_lines_leave_in_one_write_soon_after() -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    try:
        writer = LineWriter(write)
        arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(read, arrived.set)
        for number in range(3):
            writer.write(str(number).encode())
        async with asyncio.timeout(5):
            await arrived.wait()
        assert os.read(read, 100) == b"0\n1\n2\n"
    finally:
        asyncio.get_running_loop().remove_reader(read)
        os.close(read)
        os.close(write)


def test_writing_to_nobody_does_not_fail() -> None:
    read, write = os.pipe()
    os.close(read)
    LineWriter(write).write(b"lost")
    os.close(write)


async def test_another_thread_leaves_the_batch_to_the_loop(tmp_path: Path) -> None:
    """Two that took lines out of it at once could lose one."""
    path = tmp_path / "log"
    with path.open("wb") as log:
        writer = LineWriter(log.fileno())
        writer.write(b"ours")

        def theirs() -> None:
            writer.write(b"theirs")
            writer.flush()

        thread = threading.Thread(target=theirs)
        thread.start()
        thread.join()  # the loop cannot run meanwhile
        assert path.read_bytes() == b""
        await asyncio.sleep(0)
        assert path.read_bytes() == b"ours\ntheirs\n"
