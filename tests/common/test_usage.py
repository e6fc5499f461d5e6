"""Usage records: what the edge writes, core reads."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import usage
from common.identity import Identity

ids = st.uuids(allow_nil=False)


@given(
    user=st.none() | ids,
    org=ids,
    key=st.none() | ids,
    at_ms=st.integers(0, 2**47),
    status=st.integers(100, 599),
    microseconds=st.integers(0, 10**10),
    route=st.text("abc/{}é日", min_size=1),
)
def test_a_record_is_read_as_it_was_written(  # noqa: PLR0917 - hypothesis gives them by name
    user: UUID | None, org: UUID, key: UUID | None, at_ms: int, status: int, microseconds: int, route: str
) -> None:
    who = usage.who(Identity(user=user, org=org, role="user", key=key))
    read = usage.decode(usage.encode(who, at_ms, status, microseconds / 1e6, f"GET {route}"))
    assert (read.user, read.org, read.key) == (user, org, key)
    assert (read.at_ms, read.status, read.method, read.route) == (at_ms, status, "GET", route)
    assert abs(read.microseconds - min(microseconds, 2**32 - 1)) <= 1


@pytest.mark.parametrize("record", [b"", b"x" * 59, bytes(60) + b"GET /", b"x" * 60 + b"GET", b"x" * 60 + b"\xff /"])
def test_what_is_no_record_is_refused(record: bytes) -> None:
    with pytest.raises(ValueError, match=r"record|decode"):
        usage.decode(record)
