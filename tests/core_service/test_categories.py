"""Categories: what a person may do with their own, and nobody with another's."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from common.validation import Page
from core_service.modules.expenses.models import Category, name_key
from tests.core_service.caller import Caller

AsUser = Callable[..., Caller]
DEFAULTS = ["Food", "Transport", "Shopping", "Bills", "Entertainment", "Health"]


async def test_first_list_holds_the_six_defaults_in_order(as_user: AsUser) -> None:
    listed = await as_user().data("GET", "/categories")
    assert [category["name"] for category in listed["items"]] == DEFAULTS
    assert all(category["is_default"] and category["color"] == "#3182ce" for category in listed["items"])
    assert {**listed, "items": []} == {"items": [], "total": 6, "page": 1, "per_page": 10, "total_pages": 1}


async def test_two_first_requests_at_once_make_six_defaults(as_user: AsUser) -> None:
    me = as_user()
    await asyncio.gather(*(me.data("GET", "/categories") for _ in range(8)), *(me.category(f"C{n}") for n in range(4)))
    listed = await me.data("GET", "/categories")
    assert [category["name"] for category in listed["items"] if category["is_default"]] == DEFAULTS
    assert listed["total"] == 10


async def test_defaults_exist_before_the_first_own_category(as_user: AsUser) -> None:
    me = as_user()
    error = await me.refused(409, "POST", "/categories", json={"name": "food"})
    assert error["error"] == "Conflict"
    assert (await me.data("GET", "/categories"))["total"] == 6


async def test_category_is_stored_read_replaced_and_deleted(as_user: AsUser) -> None:
    me = as_user()
    made = await me.category(" Travel ", description="Trains", color="#aaBB00", icon="train")
    assert (made["name"], made["description"], made["color"], made["icon"]) == ("Travel", "Trains", "#aaBB00", "train")
    assert made["is_default"] is False
    assert await me.data("GET", f"/categories/{made['id']}") == made
    changed = await me.data("PUT", f"/categories/{made['id']}", json={"name": "Trips"})
    assert {**made, "name": "Trips", "description": None, "color": "#3182ce", "icon": None} == {
        **changed,
        "updated_at": made["updated_at"],
    }
    assert changed["updated_at"] > made["updated_at"]
    assert (await me.send("DELETE", f"/categories/{made['id']}")).status == 204
    await me.refused(404, "GET", f"/categories/{made['id']}")


async def test_answers_match_the_documented_models(as_user: AsUser) -> None:
    me = as_user()
    Category.model_validate(await me.category())
    Page[Category].model_validate(await me.data("GET", "/categories"))


async def test_own_categories_follow_the_defaults_page_by_page(as_user: AsUser) -> None:
    me = as_user()
    for name in ("Zoo", "Art"):
        await me.category(name)
    second = await me.data("GET", "/categories?page=2&per_page=6")
    assert [category["name"] for category in second["items"]] == ["Zoo", "Art"]
    assert (second["total"], second["total_pages"]) == (8, 2)
    assert (await me.data("GET", "/categories?page=3&per_page=6"))["items"] == []


@pytest.mark.parametrize("name", ["travel", "TRAVEL", " Travel "])
async def test_name_is_unique_whatever_its_case(as_user: AsUser, name: str) -> None:
    me = as_user()
    await me.category("Travel")
    other = await me.category("Other")
    assert (await me.refused(409, "POST", "/categories", json={"name": name}))["error"] == "Conflict"
    await me.refused(409, "PUT", f"/categories/{other['id']}", json={"name": name})
    assert (await me.data("GET", f"/categories/{other['id']}"))["name"] == "Other"


async def test_name_is_free_for_another_user_and_another_organization(as_user: AsUser) -> None:
    me = as_user()
    await me.category("Travel")
    await as_user(org=me.org).category("Travel")
    await as_user(user=me.user).category("Travel")


def test_names_that_look_alike_share_a_key() -> None:
    assert name_key("Café") == name_key("CAFE\u0301")
    assert name_key("Straße") == name_key("STRASSE")
    assert name_key("Food") != name_key("Foot")


def test_key_of_the_longest_name_fits_an_index_entry() -> None:
    longest = max(len(name_key(chr(code)).encode()) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    assert 100 * longest + 2 * 16 < 2700  # a btree entry holds a third of a page


async def test_defaults_cannot_be_changed_deleted_or_created(as_user: AsUser) -> None:
    me = as_user()
    food = (await me.data("GET", "/categories"))["items"][0]
    own = await me.category("Own")
    for method, path, body in (
        ("PUT", f"/categories/{food['id']}", {"name": "Meals"}),
        ("PUT", f"/categories/{food['id']}", {"name": "Food", "is_default": True}),
        ("DELETE", f"/categories/{food['id']}", None),
        ("POST", "/categories", {"name": "New", "is_default": True}),
        ("PUT", f"/categories/{own['id']}", {"name": "Own", "is_default": True}),
    ):
        error = await me.refused(409, method, path, json=body)
        assert "default" in error["message"].lower()
    assert await me.data("GET", f"/categories/{food['id']}") == food
    assert (await me.data("GET", "/categories"))["total"] == 7


async def test_category_in_use_cannot_be_deleted(as_user: AsUser) -> None:
    me = as_user()
    category = await me.category()
    expense = await me.expense(category["id"])
    error = await me.refused(409, "DELETE", f"/categories/{category['id']}")
    assert "in use" in error["message"]
    assert (await me.send("DELETE", f"/expenses/{expense['id']}")).status == 204
    assert (await me.send("DELETE", f"/categories/{category['id']}")).status == 204


@pytest.mark.parametrize("shared", ["org", "user", "nothing"])
async def test_foreign_category_is_not_found_and_stays(
    as_user: AsUser, connection: asyncpg.Connection, shared: str
) -> None:
    owner = as_user()
    category = await owner.category()
    stranger = as_user("admin", **({shared: getattr(owner, shared)} if shared != "nothing" else {}))
    path = f"/categories/{category['id']}"
    await stranger.refused(404, "GET", path)
    await stranger.refused(404, "PUT", path, json={"name": "Mine"})
    await stranger.refused(404, "DELETE", path)
    listed = await stranger.data("GET", "/categories?per_page=100")
    assert category["id"] not in [item["id"] for item in listed["items"]]
    assert await owner.data("GET", path) == category
    named = "SELECT name FROM core.categories WHERE user_id = $1 AND org_id = $2 AND NOT is_default"
    assert await connection.fetch(named, owner.user, owner.org) == [("Travel",)]


async def test_missing_category_is_not_found(as_user: AsUser) -> None:
    for unknown in (uuid4(), "no-uuid", "%00", "0" * 3000):
        await _refused_raw(as_user(), 404, f"/categories/{unknown}")


async def _refused_raw(me: Caller, status: int, path: str) -> None:
    for method, body in (("GET", None), ("PUT", {"name": "X"}), ("DELETE", None)):
        response = await me.send(method, path, json=body)
        assert response.status == status
        assert (await response.json())["error"] == "NotFound"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name"}),
        ({"name": ""}, {"name"}),
        ({"name": "   "}, {"name"}),
        ({"name": "x" * 101}, {"name"}),
        ({"name": None}, {"name"}),
        ({"name": 7, "color": "blue", "icon": "i" * 51, "description": "d" * 501, "is_default": "?", "extra": 1},
         {"name", "color", "icon", "description", "is_default", "extra"}),
        ({"name": "a\0b"}, {"name"}),
        ({"name": "x", "color": "#3182ce\n"}, {"color"}),
        ({"name": "x", "color": "#3182cé"}, {"color"}),
        ([], {"body"}),
        ("name", {"body"}),
    ],
)  # fmt: skip
async def test_every_faulty_field_is_named(as_user: AsUser, body: Any, fields: set[str]) -> None:
    me = as_user()
    error = await me.refused(422, "POST", "/categories", json=body)
    assert set(error["errors"]) == fields
    own = await me.category()
    error = await me.refused(422, "PUT", f"/categories/{own['id']}", json=body)
    assert set(error["errors"]) == fields
