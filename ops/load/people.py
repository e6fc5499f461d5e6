"""Who sends the load: accounts with expenses, made through the API as clients make them.

Each costs two argon2 hashes, register and sign-in: about 25 a second and core. Each has an address of their own, as
people have: register and sign-in are limited by address, and those limits stay as they are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import orjson

from common.http1 import Pool, Timeouts

PASSWORD = "a long enough passphrase for the load gate"  # noqa: S105 - of accounts that live for a minute
_PATIENT = Timeouts(first_byte=60)
_AT_ONCE = 16
_BODY_BYTES_MAX = 1 << 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Person:
    """A token, and what they own."""

    token: str
    category: str
    expenses: tuple[str, ...]


class Refused(Exception):
    """Setting up failed: the load would not be what was meant."""


async def make(pool: Pool, *, count: int, expenses: int) -> list[Person]:
    """`count` new accounts with `expenses` expenses each. Raises Refused."""
    return await _in_turns(lambda number: _person(pool, number, expenses), range(count))


async def _person(pool: Pool, number: int, expenses: int) -> Person:
    account = {"email": f"load-{uuid4().hex}@example.com", "password": PASSWORD}
    headers = [(b"X-Forwarded-For", f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}".encode())]
    await _call(pool, "POST", "/api/v1/auth/register", headers, account)
    token = (await _call(pool, "POST", "/api/v1/auth/login", headers, account))["accessToken"]
    headers.append((b"Authorization", b"Bearer " + token.encode()))
    category = (await _call(pool, "GET", "/api/v1/categories", headers))["items"][0]["id"]
    made = [
        (await _call(pool, "POST", "/api/v1/expenses", headers, new_expense(category, number)))["id"]
        for number in range(expenses)
    ]
    return Person(token, category, tuple(made))


def new_expense(category: str, number: int) -> dict[str, Any]:
    """A body as people send it; `number` makes it another one."""
    return {
        "amount": f"{number % 400 + 1}.{number % 100:02d}",
        "date": f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d}",
        "category_id": category,
        "description": f"Lunch with a client, number {number}",
        "payment_method": "card",
        "tags": ["work", "lunch"],
    }


async def _call(pool: Pool, method: str, path: str, headers: Sequence[tuple[bytes, bytes]], body: Any = None) -> Any:
    data = None
    if body is not None:
        headers, data = [*headers, (b"Content-Type", b"application/json")], orjson.dumps(body)
    response = await pool.request(method, path.encode(), headers, data, timeouts=_PATIENT)
    answer = await response.read(_BODY_BYTES_MAX)
    if response.status not in (200, 201):
        raise Refused(f"{method} {path} was answered {response.status}: {answer[:300].decode(errors='replace')}")
    return orjson.loads(answer)["data"]


async def _in_turns(work: Callable[[int], Awaitable[T]], items: Sequence[int]) -> list[T]:
    """Some at a time, so that none waits in auth's queue for long; in the order of the items."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(item: int) -> T:
        async with room:
            return await work(item)

    return await asyncio.gather(*(one(item) for item in items))
