"""Logs are read in the order of time, whatever form their lines have and however often they were rotated."""

import gzip
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.cli.log_lines import as_text, shower
from ops.logs import files, reading
from ops.logs.lines import parse
from ops.logs.mark import Mark
from ops.logs.reading import Log, Wanted

COMBINED = (
    '203.0.113.9 req_12345678 u-1 [21/Nov/2025:10:30:04 +0000] "POST /api/v1/auth/login HTTP/1.1" 401 250 "-" "curl/8"'
)
DEV = "2025-11-21T10:30:06.000Z GET /api/v1/me 200 1.2 ms 345 B 203.0.113.9 req_12345678"


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def log_file(opened: ExitStack, path: Path, *lines: str) -> Log:
    path.write_text("".join(f"{line}\n" for line in lines))
    log = Log(path)
    opened.callback(log.close)
    return log


def line(time: str, event: str, **fields: object) -> str:
    return json.dumps(
        {"time": f"2025-11-21T10:30:{time}Z", "level": "info", "service": "edge", "event": event, **fields}
    )


def events(lines: list[reading.Line]) -> list[str]:
    return [entry.fields["event"] for entry in lines if entry.fields]


def test_logs_of_different_kinds_are_merged_by_time(tmp_path: Path, opened: ExitStack) -> None:
    edge = log_file(
        opened, tmp_path / "edge.log", line("01.000", "one"), "Traceback", COMBINED, line("05.000", "five"), DEV
    )
    postgres = log_file(opened, tmp_path / "postgres.log", "2025-11-21 10:30:02.500 UTC [7] LOG:  two")
    valkey = log_file(opened, tmp_path / "valkey.log", "12:M 21 Nov 2025 10:30:03.000 * three")
    merged = reading.last([edge, postgres, valkey], 99)
    assert [entry.text for entry in merged] == [entry.text for entry in reading.everything([edge, postgres, valkey])]
    assert [(entry.service, entry.text.split()[-1]) for entry in merged if entry.fields is None] == [
        ("edge", "Traceback"),
        ("postgres", "two"),
        ("valkey", "three"),
    ]
    assert [entry.time[17:19] for entry in merged] == ["01", "01", "02", "03", "04", "05", "06"]
    assert [entry.time[17:19] for entry in reading.last([edge, postgres, valkey], 3)] == ["04", "05", "06"]
    shown = [as_text(entry) for entry in merged]
    assert "2025-11-21 10:30:02.500  postgres   [7] LOG:  two" in [re.sub(r"\x1b\[\d*m", "", text) for text in shown]


@pytest.mark.parametrize("text", [COMBINED, DEV])
def test_every_form_of_access_line_is_understood(text: str) -> None:
    read = parse(text, "edge")
    assert read.is_timed
    assert read.fields
    assert {name: read.fields[name] for name in ("service", "event", "request_id", "address")} == {
        "service": "edge",
        "event": "request",
        "request_id": "req_12345678",
        "address": "203.0.113.9",
    }
    assert json.loads(shower(as_json=True, failed_sign_ins=False)(read)) == read.fields
    assert str(read.fields["status"]) in as_text(read)


def test_sentences_in_a_list_stand_on_a_line_each_at_the_end() -> None:
    faults = ["routes.toml:2: servers must be a list", "routes.toml:5: unknown field 'colour'"]
    told = {
        "time": "2025-11-21T10:30:06Z",
        "level": "warning",
        "event": "table_refused",
        "faults": faults,
        "in_force": "it",
    }
    shown = as_text(parse(json.dumps(told), "edge")).splitlines()
    assert shown[0].endswith("table_refused in_force=it faults:")
    assert shown[1:] == [f"    {fault}" for fault in faults]


def test_a_long_log_is_read_from_its_end(tmp_path: Path, opened: ExitStack) -> None:
    lines = [line("01.000", f"event_{number}", pad="x" * 200) for number in range(2000)]
    log = log_file(opened, tmp_path / "edge.log", *lines)
    assert events(log.last(3)) == ["event_1997", "event_1998", "event_1999"]
    assert len(log.last(1500)) == 1500
    assert log.last(0) == []


def test_the_last_lines_reach_into_older_files(tmp_path: Path, opened: ExitStack) -> None:
    (tmp_path / "edge.log-20251121T102900.000000Z").write_text(
        line("01.000", "one") + "\n" + line("02.000", "two") + "\n"
    )
    log = log_file(opened, tmp_path / "edge.log", line("03.000", "three"))
    assert events(log.last(2)) == ["two", "three"]
    assert events(log.last(9)) == ["one", "two", "three"]


def test_a_log_is_followed_over_half_lines_and_a_new_file(tmp_path: Path, opened: ExitStack) -> None:
    path = tmp_path / "edge.log"
    log = log_file(opened, path, line("01.000", "old"))
    assert events(list(log.all())) == ["old"]
    with path.open("a") as writer:
        writer.write(line("02.000", "new")[:20])
        writer.flush()
        assert log.new() == []
        writer.write(line("02.000", "new")[20:] + "\n")
        writer.flush()
        assert events(log.new()) == ["new"]
        writer.write(line("03.000", "last words") + "\n")
    path.rename(tmp_path / "edge.log.1")
    path.write_text(line("04.000", "rotated") + "\n")
    assert events(log.new()) == ["last words", "rotated"]
    os.truncate(path, 0)
    assert log.new() == []
    path.write_text(line("05.000", "emptied") + "\n")
    assert events(log.new()) == ["emptied"]


def test_older_files_are_searched_oldest_first_whoever_made_them(tmp_path: Path, opened: ExitStack) -> None:
    def older(name: str, event: str, age: int) -> None:
        data = f"{line(f'0{9 - age}.000', event, request_id='req_searched')}\n".encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        os.utime(tmp_path / name, (1763721009 - age, 1763721009 - age))

    older("edge.log-20251120T000000.000000Z.gz", "a", 5)
    older("edge.log.2.gz", "b", 4)
    older("edge.log-20251121.gz", "c", 3)
    older("edge.log.1", "d", 2)
    (tmp_path / "edge.log.1.gz.partial").write_bytes(b"half")
    (tmp_path / "edge.log.2").write_bytes(
        gzip.decompress((tmp_path / "edge.log.2.gz").read_bytes())
    )  # a crash left both
    os.utime(tmp_path / "edge.log.2", (1763721005, 1763721005))
    log = log_file(
        opened, tmp_path / "edge.log", line("09.000", "e", request_id="req_searched"), line("09.500", "other")
    )
    assert events(list(log.all(Wanted(request_id="req_searched")))) == ["a", "b", "c", "d", "e"]
    assert events(list(log.all(Wanted(since="2025-11-21T10:30:07.000Z")))) == ["d", "e", "other"]
    assert events(list(log.all(Wanted(pattern=re.compile("OTHER|nothing", re.IGNORECASE))))) == ["other"]
    assert files.names(tmp_path) == ["edge"]


def test_a_mark_tells_what_was_written_since_over_rotations(tmp_path: Path) -> None:
    path = tmp_path / "edge.log"
    path.write_text("before\n")
    mark = Mark(path)
    with path.open("a") as log:
        log.write("one\n")
    path.rename(files.renamed(path, datetime.now(UTC)))
    path.write_text("two\n")
    assert mark.lines() == ["one", "two"]
    path.rename(tmp_path / "edge.log-99991231T000000.000000Z")
    path.write_text("three\n")
    assert mark.lines() == ["one", "two", "three"]
    for older in files.older(path):
        older.unlink()
    assert mark.lines() == ["three"]


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"status": 401}, True),
        ({"status": 403}, True),
        ({"status": 429, "limit": "auth"}, True),
        ({"status": 429}, True),
        ({"status": 429, "limit": "general"}, False),
        ({"status": 200}, False),
        ({"status": 422}, False),
        ({"status": 401, "path": "/auth/login"}, True),
        ({"status": 401, "path": "/console/login"}, True),
        ({"status": 401, "path": "/api/v1/me"}, False),
        ({"status": 401, "path": "/api/v1/auth/login%20x"}, False),
        ({"status": 401, "method": "GET"}, False),
        ({"status": 401, "service": "auth"}, False),
    ],
)
def test_what_counts_as_a_failed_sign_in(fields: dict[str, object], counts: bool) -> None:
    given = {"method": "POST", "path": "/api/v1/auth/login", "address": "203.0.113.9", **fields}
    assert parse(line("01.000", "request", **given), "edge").is_failed_sign_in is counts


def test_failed_sign_ins_show_who_where_and_when() -> None:
    read = parse(COMBINED, "edge")
    assert read.is_failed_sign_in
    plain = shower(as_json=False, failed_sign_ins=True)(read)
    assert plain == "2025-11-21T10:30:04.000Z 203.0.113.9     401 POST /api/v1/auth/login req_12345678"
    assert json.loads(shower(as_json=True, failed_sign_ins=True)(read)) == {
        "time": "2025-11-21T10:30:04.000Z",
        "address": "203.0.113.9",
        "method": "POST",
        "path": "/api/v1/auth/login",
        "status": 401,
        "request_id": "req_12345678",
    }
