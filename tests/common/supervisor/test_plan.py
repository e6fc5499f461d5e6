"""What the parent accepts as a check's answer."""

import json
from typing import Any

import pytest

from common.supervisor.plan import CannotStart, Listener, Plan, parse

ANSWER: dict[str, Any] = {
    "workers": 2,
    "listen": [
        {"name": "http", "host": "127.0.0.1", "port": 8080, "setting": "EDGE_PORT"},
        {"name": "admin", "path": "/run/admin.sock", "mode": "0660"},
    ],
    "lame_duck_seconds": 5,
    "shutdown_seconds": 30,
}


def test_answer_becomes_a_plan() -> None:
    assert parse(json.dumps(ANSWER).encode()) == Plan(
        2,
        (
            Listener("http", "127.0.0.1", 8080, setting="EDGE_PORT"),
            Listener("admin", path="/run/admin.sock", mode=0o660),
        ),
        5,
        30,
    )


def test_only_the_last_line_counts() -> None:
    assert parse(b"an import says hello\n" + json.dumps(ANSWER).encode() + b"\n").workers == 2


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"hello",
        b"[]",
        json.dumps(ANSWER | {"workers": 0}).encode(),
        json.dumps(ANSWER | {"listen": []}).encode(),
        json.dumps(ANSWER | {"listen": [{"name": "http"}]}).encode(),
        json.dumps(ANSWER | {"listen": ANSWER["listen"][:1] * 2}).encode(),
    ],
)
def test_anything_else_is_refused(output: bytes) -> None:
    with pytest.raises(CannotStart, match="its check"):
        parse(output)


def test_plan_reads_as_one_line() -> None:
    assert str(parse(json.dumps(ANSWER).encode())) == "2 workers; http 127.0.0.1:8080, admin /run/admin.sock"
