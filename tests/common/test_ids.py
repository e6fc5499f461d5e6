"""Identifiers: ordered, unique, well formed."""

import time
import uuid

import pytest

from common.ids import REQUEST_ID, RequestIds, uuid7


def test_uuid7_is_of_version_7_and_holds_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_uuid7_is_unique_within_a_millisecond() -> None:
    assert len({uuid7() for _ in range(20_000)}) == 20_000


def test_request_ids_are_unique_over_workers() -> None:
    one, other = RequestIds(), RequestIds()
    made = [ids.make() for ids in (one, other) for _ in range(1000)]
    assert len(set(made)) == 2000
    assert all(REQUEST_ID.fullmatch(text) and text.startswith("req_") for text in made)


@pytest.mark.parametrize("offered", ["a" * 8, "A-b_c.123", "x" * 128])
def test_well_formed_request_id_is_kept(offered: str) -> None:
    assert RequestIds().keep_or_make(offered) == offered


@pytest.mark.parametrize(
    "offered", [None, "", "short", "x" * 129, "has space1", "new\nline12", "ümlaut-123", "a" * 8 + "\n"]
)
def test_malformed_request_id_is_replaced(offered: str | None) -> None:
    assert RequestIds().keep_or_make(offered) != offered
