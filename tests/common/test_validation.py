"""Bad input: every faulty field at once, in sentences."""

from datetime import date
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from common.errors import ValidationError
from common.validation import CamelInput, Input, PageQuery, page, validate


class Order(Input):
    title: str = Field(min_length=2, max_length=5)
    count: int = Field(1, ge=1)
    price: Decimal | None = Field(None, max_digits=4, decimal_places=2)
    day: date | None = None
    kind: Literal["a", "b"] = "a"
    tags: list[str] = Field(default_factory=list, max_length=2)


class Span(Input):
    low: int
    high: int
    name: str

    @field_validator("high")
    @classmethod
    def _ordered(cls, high: int, info: ValidationInfo) -> int:
        if info.data.get("low", high) > high:
            raise PydanticCustomError("order", "low must not be greater than high", {"fields": ["low", "high"]})
        return high


def faults(model: type[Input], value: Any) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        validate(model, value)
    return caught.value.errors


def test_every_faulty_field_is_named_in_a_sentence() -> None:
    wrong = {"title": "x", "count": 0, "price": "1.001", "day": "soon", "kind": "c", "tags": [1, "b"], "more": 1}
    assert faults(Order, wrong) == {
        "title": ["Title must be at least 2 characters"],
        "count": ["Count must be at least 1"],
        "price": ["Price must have at most 2 decimal places"],
        "day": ["Day must be a date (YYYY-MM-DD)"],
        "kind": ["Kind must be one of 'a' or 'b'"],
        "tags.0": ["Tags must be a string"],
        "more": ["Unknown field"],
    }


def test_check_of_two_fields_names_both_beside_the_others() -> None:
    assert faults(Span, {"low": 2, "high": 1, "name": 7}) == {
        "low": ["low must not be greater than high"],
        "high": ["low must not be greater than high"],
        "name": ["Name must be a string"],
    }


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_what_is_no_object_is_refused(value: Any) -> None:
    assert faults(Order, value) == {"body": ["Must be a JSON object"]}


def test_nul_is_refused_at_any_depth_and_in_names() -> None:
    nul = ["Must not contain the NUL character"]
    assert faults(Order, {"title": "a\0b"}) == {"title": nul}
    assert faults(Order, {"title": "ab", "tags": ["a", "b\0"]}) == {"tags": nul}
    assert faults(Order, {"title": "ab", "x\0": 1})["x\0"] == [*nul, "Unknown field"]
    deep: Any = "\0"
    for _ in range(5000):
        deep = [deep]
    assert nul[0] in faults(Order, {"title": "ab", "tags": deep})["tags"]


def test_camel_case_fields_read_as_words() -> None:
    class Change(CamelInput):
        new_password: str

    assert faults(Change, {}) == {"newPassword": ["New password is required"]}
    assert validate(Change, {"newPassword": "x"}).new_password == "x"


@pytest.mark.parametrize(("total", "per_page", "pages"), [(0, 10, 0), (1, 10, 1), (100, 10, 10), (101, 10, 11)])
def test_page_counts_its_pages(total: int, per_page: int, pages: int) -> None:
    query = validate(PageQuery, {"page": "3", "per_page": str(per_page)})
    assert page([], total, query)["total_pages"] == pages
    assert query.offset == 2 * per_page


def test_page_query_has_bounds() -> None:
    assert set(faults(PageQuery, {"page": "0", "per_page": "101"})) == {"page", "per_page"}


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.floats() | st.integers(), st.lists)))
def test_any_object_without_a_title_is_refused_with_reasons(value: dict[str, Any]) -> None:
    value.pop("title", None)
    found = faults(Order, value)
    assert found["title"] == ["Title is required"]
    assert all(messages for messages in found.values())


def test_uuid_fields_say_so() -> None:
    class Reference(Input):
        category_id: UUID

    assert faults(Reference, {"category_id": "food"}) == {"category_id": ["Category id must be a UUID"]}
