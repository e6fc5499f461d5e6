"""JSON, in one place: orjson with the settings every service shares."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

loads = orjson.loads
JSONDecodeError = orjson.JSONDecodeError


def _default(value: object) -> str:
    # Money and quantities travel as strings, so that no client rounds them. asyncpg's UUIDs are a subclass of UUID,
    # which orjson does not look for.
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON serialisable")


def dumps(value: Any) -> bytes:
    """Compact UTF-8. UUIDs and Decimals become strings, aware datetimes ISO-8601 with `Z`."""
    return orjson.dumps(value, default=_default, option=orjson.OPT_UTC_Z)
