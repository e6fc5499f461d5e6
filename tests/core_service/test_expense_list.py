"""The list of expenses: pages, order and every combination of filters, against a plain filter in Python."""

import itertools
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest

from tests.core_service.caller import Caller

AsUser = Callable[..., Caller]
METHODS = ("cash", "card", "transfer", "digital_wallet", "other", None)
TAGS = ("work", "home", "gift", "ünïcode tag")


async def add_expenses(me: Caller, connection: asyncpg.Connection, count: int) -> list[str]:
    """`count` varied rows over three categories, put straight into the table; the categories' ids."""
    categories = [(await me.category(name))["id"] for name in ("One", "Two", "Three")]
    rng = random.Random(7)
    rows = [
        (
            f"2025-{rng.randint(1, 3):02}-{rng.randint(1, 9):02}",
            Decimal(rng.randint(1, 3000)) / 100,
            rng.choice(categories),
            rng.choice(METHODS),
            rng.sample(TAGS, rng.randint(0, 3)),
        )
        for _ in range(count)
    ]
    await connection.executemany(
        """
        INSERT INTO core.expenses (id, user_id, org_id, date, amount, category_id, payment_method, tags)
        VALUES (gen_random_uuid(), $1, $2, $3::text::date, $4, $5::text::uuid, $6, $7)
        """,
        [(me.user, me.org, *row) for row in rows],
    )
    return categories


async def everything(me: Caller) -> list[dict[str, Any]]:
    pages = [await me.data("GET", f"/expenses?per_page=100&page={number}") for number in (1, 2)]
    return [item for page in pages for item in page["items"]]


async def test_hundred_rows_are_ten_pages_and_the_eleventh_is_empty(
    as_user: AsUser, connection: asyncpg.Connection
) -> None:
    me, other = as_user(), as_user()
    await add_expenses(me, connection, 100)
    await add_expenses(other, connection, 5)
    seen = []
    for number in range(1, 12):
        page = await me.data("GET", f"/expenses?page={number}&per_page=10")
        assert {**page, "items": []} == {"items": [], "total": 100, "page": number, "per_page": 10, "total_pages": 10}
        assert len(page["items"]) == (10 if number <= 10 else 0)
        seen += page["items"]
    assert seen == await everything(me)
    assert len({item["id"] for item in seen}) == 100


async def test_first_page_of_ten_is_the_default(as_user: AsUser, connection: asyncpg.Connection) -> None:
    me = as_user()
    await add_expenses(me, connection, 11)
    page = await me.data("GET", "/expenses")
    assert (len(page["items"]), page["page"], page["per_page"], page["total_pages"]) == (10, 1, 10, 2)


async def test_list_of_a_new_person_is_an_empty_page(as_user: AsUser) -> None:
    page = await as_user().data("GET", "/expenses")
    assert page == {"items": [], "total": 0, "page": 1, "per_page": 10, "total_pages": 0}


async def test_newest_come_first(as_user: AsUser) -> None:
    me = as_user()
    category = (await me.category())["id"]
    days = ["2025-01-02", "2025-01-03", "2025-01-02", "2025-01-01"]
    made = [await me.expense(category, date=day) for day in days]
    listed = (await me.data("GET", "/expenses"))["items"]
    assert listed == [made[1], made[2], made[0], made[3]]


async def test_filters_alone_and_combined_return_exactly_the_matching_rows(
    as_user: AsUser, connection: asyncpg.Connection
) -> None:
    me = as_user()
    categories = await add_expenses(me, connection, 150)
    rows = await everything(me)
    assert len(rows) == 150
    filters: dict[str, tuple[Any, Callable[[dict[str, Any]], bool]]] = {
        "start_date": ("2025-01-05", lambda row: row["date"] >= "2025-01-05"),
        "end_date": ("2025-03-04", lambda row: row["date"] <= "2025-03-04"),
        "category_id": (categories[1], lambda row: row["category_id"] == categories[1]),
        "min_amount": ("5.25", lambda row: Decimal(row["amount"]) >= Decimal("5.25")),
        "max_amount": ("25", lambda row: Decimal(row["amount"]) <= 25),
        "payment_method": ("card", lambda row: row["payment_method"] == "card"),
        "tags": ("work,home", lambda row: {"work", "home"} <= set(row["tags"])),
    }
    sizes = []
    for count in range(len(filters) + 1):
        for chosen in itertools.combinations(filters, count):
            query = urlencode({name: filters[name][0] for name in chosen} | {"per_page": 100})
            page = await me.data("GET", f"/expenses?{query}")
            expected = [row for row in rows if all(filters[name][1](row) for name in chosen)]
            assert (page["total"], page["items"]) == (len(expected), expected[:100]), chosen
            sizes.append(len(expected))
    assert len(sizes) == 2**7
    assert sum(0 < size < 150 for size in sizes) > 60  # the filters divide the data, so a wrong one shows


@pytest.mark.parametrize(
    "query", ["tags=work,home", "tags=home&tags=work", "tags=work&tags=,home,", "tags=%20work%20,%20home"]
)
async def test_all_tags_must_be_present_however_they_are_given(
    as_user: AsUser, connection: asyncpg.Connection, query: str
) -> None:
    me = as_user()
    await add_expenses(me, connection, 60)
    expected = [row for row in await everything(me) if {"work", "home"} <= set(row["tags"])]
    assert expected
    assert (await me.data("GET", f"/expenses?per_page=100&{query}"))["items"] == expected


async def test_bounds_that_meet_are_a_range_of_one(as_user: AsUser) -> None:
    me = as_user()
    made = await me.expense((await me.category())["id"], amount="10.00", date="2025-01-01")
    query = "start_date=2025-01-01&end_date=2025-01-01&min_amount=10&max_amount=10.00"
    assert (await me.data("GET", f"/expenses?{query}"))["items"] == [made]
    assert (await me.data("GET", "/expenses?min_amount=0"))["items"] == [made]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("page=0", {"page"}),
        ("page=-1&per_page=0", {"page", "per_page"}),
        ("per_page=101", {"per_page"}),
        ("page=x&per_page=1.5", {"page", "per_page"}),
        ("page=1&page=2", {"page"}),
        ("page=99999999999999999999", {"page"}),
        ("start_date=2025-02-30", {"start_date"}),
        ("end_date=", {"end_date"}),
        ("start_date=1763683200", {"start_date"}),
        ("start_date=2025-01-02&end_date=2025-01-01", {"start_date", "end_date"}),
        ("min_amount=2&max_amount=1", {"min_amount", "max_amount"}),
        ("start_date=2025-01-02&end_date=2025-01-01&page=0", {"start_date", "end_date", "page"}),
        ("category_id=food", {"category_id"}),
        ("min_amount=NaN&max_amount=1e400", {"min_amount", "max_amount"}),
        ("min_amount=-1", {"min_amount"}),
        ("max_amount=0.001", {"max_amount"}),
        ("payment_method=gold", {"payment_method"}),
        ("tags=%00", {"tags"}),
        ("tags=" + ",".join("abcdefghijk"), {"tags"}),
        ("tags=" + "x" * 51, {"tags"}),
        ("sort=amount&unknown=1", {"sort", "unknown"}),
        ("%00=1", {"\0"}),
    ],
)
async def test_wrong_query_names_every_field(as_user: AsUser, query: str, fields: set[str]) -> None:
    error = await as_user().refused(422, "GET", f"/expenses?{query}")
    assert {name.partition(".")[0] for name in error["errors"]} == fields
