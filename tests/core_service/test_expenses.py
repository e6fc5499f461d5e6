"""Expenses: exact amounts, one's own rows only."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from common.validation import Page
from core_service.modules.expenses.models import Expense
from tests.core_service.caller import Caller

AsUser = Callable[..., Caller]


async def test_expense_is_stored_read_replaced_and_deleted(as_user: AsUser) -> None:
    me = as_user()
    travel, other = await me.category("Travel"), await me.category("Other")
    whole = {
        "amount": "25.50",
        "date": "2025-11-21",
        "category_id": travel["id"],
        "description": "Ticket'); DROP TABLE core.expenses; --",
        "payment_method": "digital_wallet",
        "tags": ["work", "<script>"],
        "notes": "n" * 2000,
        "currency": "EUR",
    }
    made = await me.data("POST", "/expenses", 201, json=whole)
    assert {name: made[name] for name in whole} == whole
    path = f"/expenses/{made['id']}"
    assert await me.data("GET", path) == made
    replaced = await me.data("PUT", path, json={"amount": 7, "date": "2024-02-29", "category_id": other["id"]})
    assert {**replaced, "updated_at": None} == {
        "id": made["id"],
        "amount": "7.00",
        "currency": "USD",
        "date": "2024-02-29",
        "category_id": other["id"],
        "description": None,
        "payment_method": None,
        "tags": [],
        "notes": None,
        "created_at": made["created_at"],
        "updated_at": None,
    }
    assert (await me.send("DELETE", path)).status == 204
    await me.refused(404, "GET", path)
    await me.refused(404, "PUT", path, json=whole)
    await me.refused(404, "DELETE", path)


async def test_answers_match_the_documented_models(as_user: AsUser) -> None:
    me = as_user()
    Expense.model_validate(await me.expense((await me.category())["id"]))
    Page[Expense].model_validate(await me.data("GET", "/expenses"))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ('"25.50"', "25.50"),
        ('"0.01"', "0.01"),
        ('"+1.5"', "1.50"),
        ('"1.500"', "1.50"),
        ("25.5", "25.50"),
        ("25.500", "25.50"),
        ("0.1", "0.10"),
        ("1.10", "1.10"),
        ("3", "3.00"),
        ("1e2", "100.00"),
        ('"9999999999.99"', "9999999999.99"),
        ("9999999999.99", "9999999999.99"),
        ("1234567890.29", "1234567890.29"),
    ],
)
async def test_amount_survives_exactly(
    as_user: AsUser, connection: asyncpg.Connection, given: str, stored: str
) -> None:
    me = as_user()
    category = await me.category()
    body = f'{{"amount": {given}, "date": "2025-11-21", "category_id": "{category["id"]}"}}'
    made = await me.data("POST", "/expenses", 201, data=body, headers={"Content-Type": "application/json"})
    assert made["amount"] == stored
    assert (await me.data("GET", "/expenses"))["items"][0]["amount"] == stored
    row = await connection.fetchval("SELECT amount::text FROM core.expenses WHERE id = $1", made["id"])
    assert row == stored


@pytest.mark.parametrize(
    "amount",
    ['0', '0.00', '-1', '"-0.01"', '"abc"', '""', '" 1"', '"1_000"', '"1e2"', '"٣"', '"0x10"', '"NaN"', '"Infinity"',
     '"-Infinity"', '"1e400"', '1e400', '-1e400', '1e308', '0.001', '0.005', '"1.001"', '25.499',
     '10000000000', '"10000000000.00"', '1e22', '0.30000000000000004', 'true', 'null', '[]', '{}', '"1.2.3"', '["1"]'],
)  # fmt: skip
async def test_wrong_amount_is_refused(as_user: AsUser, amount: str) -> None:
    me = as_user()
    body = f'{{"amount": {amount}, "date": "2025-11-21", "category_id": "{uuid4()}"}}'
    await me.refused(422, "POST", "/expenses", data=body, headers={"Content-Type": "application/json"})
    assert (await me.data("GET", "/expenses"))["total"] == 0


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "2024-02-29"])
async def test_every_day_of_the_calendar_is_a_date(as_user: AsUser, day: str) -> None:
    me = as_user()
    category = await me.category()
    assert (await me.expense(category["id"], date=day))["date"] == day
    assert (await me.data("GET", f"/expenses?start_date={day}&end_date={day}"))["total"] == 1


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("date", ["2025-02-30", "0000-01-01", "2025-1-1", "20250101", "2025-01-01T00:00:00", 1763683200, "", None,
                  "२०२५-०१-०१", "2025-01-01\n"]),
        ("category_id", ["", "food", 7, None, ["x"], "0" * 10000]),
        ("description", ["d" * 256, 7, "a\0b", ["x"]]),
        ("payment_method", ["cheque", "CASH", "", 1, "cash\0"]),
        ("tags", ["work", ["t"] * 11, [""], [" "], ["t" * 51], [7], [None], ["a\0"], ["a,b"], {"a": 1}, None]),
        ("notes", ["n" * 2001, 7, "\0", {}]),
        ("currency", ["usd", "US", "USDD", "U$D", "", 840, None, "USD\n"]),
        ("colour", ["red"]),
    ],
)  # fmt: skip
async def test_wrong_field_is_named(as_user: AsUser, field: str, wrong: list[Any]) -> None:
    me = as_user()
    category = await me.category()
    made = await me.expense(category["id"])
    for value in wrong:
        body = {"amount": "1.00", "date": "2025-11-21", "category_id": category["id"], field: value}
        for method, path in (("POST", "/expenses"), ("PUT", f"/expenses/{made['id']}")):
            error = await me.refused(422, method, path, json=body)
            assert {name.partition(".")[0] for name in error["errors"]} == {field}, value
    assert (await me.data("GET", "/expenses"))["items"] == [made]


async def test_all_faulty_fields_are_named_at_once(as_user: AsUser) -> None:
    body = {"amount": "abc", "category_id": 1, "currency": "dollars", "payment_method": "gold", "extra": {}}
    error = await as_user().refused(422, "POST", "/expenses", json=body)
    assert error["error"] == "ValidationError"
    assert error["errors"] == {
        "amount": ["Amount must be a decimal number"],
        "date": ["Date is required"],
        "category_id": ["Category id must be a UUID"],
        "currency": ["Currency has an invalid format"],
        "payment_method": [
            "Payment method must be one of 'cash', 'card', 'transfer', 'digital_wallet' or 'other'",
        ],
        "extra": ["Unknown field"],
    }


async def test_category_must_be_ones_own(as_user: AsUser) -> None:
    owner = as_user()
    theirs = (await owner.category())["id"]
    for me in (as_user(), as_user(org=owner.org), as_user(user=owner.user)):
        mine = await me.expense((await me.category())["id"])
        for category_id in (theirs, str(uuid4())):
            body = {"amount": "1.00", "date": "2025-11-21", "category_id": category_id}
            error = await me.refused(404, "POST", "/expenses", json=body)
            assert error["message"] == "Category not found"
            await me.refused(404, "PUT", f"/expenses/{mine['id']}", json=body)
        assert (await me.data("GET", "/expenses"))["items"] == [mine]


@pytest.mark.parametrize("shared", ["org", "user", "nothing"])
async def test_foreign_expense_is_not_found_and_stays(as_user: AsUser, shared: str) -> None:
    owner = as_user()
    expense = await owner.expense((await owner.category())["id"])
    stranger = as_user("admin", **({shared: getattr(owner, shared)} if shared != "nothing" else {}))
    own = await stranger.category()
    path = f"/expenses/{expense['id']}"
    body = {"amount": "1.00", "date": "2025-11-21", "category_id": own["id"]}
    await stranger.refused(404, "GET", path)
    await stranger.refused(404, "PUT", path, json=body)
    await stranger.refused(404, "DELETE", path)
    assert (await stranger.data("GET", "/expenses"))["total"] == 0
    filtered = await stranger.data("GET", f"/expenses?category_id={expense['category_id']}")
    assert filtered["items"] == []
    assert await owner.data("GET", path) == expense


async def test_creation_is_logged_with_the_user_and_nothing_of_the_expense(as_user: AsUser) -> None:
    me = as_user()
    category = await me.category()
    with capture_logs() as lines:
        made = await me.expense(category["id"], description="a private matter", notes="hidden", amount="77.77")
    (line,) = [line for line in lines if line["event"] == "expense_created"]
    assert (line["user_id"], line["expense_id"]) == (str(me.user), made["id"])
    assert line["message"] == f"Creating expense for user {me.user}"
    assert not any(secret in str(lines) for secret in ("private", "hidden", "77.77", me.headers["Authorization"]))


async def test_duplicate_tags_are_kept_once_in_order(as_user: AsUser) -> None:
    me = as_user()
    category = await me.category()
    assert (await me.expense(category["id"], tags=["b", " a ", "b", "a"]))["tags"] == ["b", "a"]
