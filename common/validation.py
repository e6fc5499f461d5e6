"""Bad input becomes one 422 that names every faulty field, in sentences a person would write."""

import re
from typing import Any, Generic, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from common.errors import ValidationError

AnyModel = TypeVar("AnyModel", bound=BaseModel)
Item = TypeVar("Item")


class Input(BaseModel):
    """What a client sends. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)


class CamelInput(Input):
    """The same, with the camelCase names of the account routes."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=False)


class PageQuery(Input):
    """`page` from 1, `per_page` 1 to 100."""

    page: int = pydantic.Field(1, ge=1, le=1_000_000)
    per_page: int = pydantic.Field(10, ge=1, le=100)

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.per_page


class Page(BaseModel, Generic[Item]):
    """The shape of `page`, for the documentation of a list."""

    items: list[Item]
    total: int
    page: int
    per_page: int
    total_pages: int


def page(items: list[Any], total: int, query: PageQuery) -> dict[str, Any]:
    """The page object that every list answers with."""
    return {
        "items": items,
        "total": total,
        "page": query.page,
        "per_page": query.per_page,
        "total_pages": -(-total // query.per_page),
    }


def validate(model: type[AnyModel], value: Any) -> AnyModel:
    """`value` as `model`. Raises ValidationError with all faults at once."""
    if not isinstance(value, dict):
        raise ValidationError({"body": ["Must be a JSON object"]})
    faults = {field: ["Must not contain the NUL character"] for field in _fields_with_nul(value)}
    try:
        checked = model.model_validate(value)
    except pydantic.ValidationError as error:
        for fault in error.errors(include_url=False):
            for field in _fields(fault):
                faults.setdefault(field, []).append(_sentence(fault))
    if faults:
        raise ValidationError(faults)
    return checked


def _fields(fault: ErrorDetails) -> list[str]:
    """The faulty field; a check of several together names them all in its context's `fields`."""
    return fault.get("ctx", {}).get("fields") or [".".join(str(part) for part in fault["loc"]) or "body"]


def _fields_with_nul(value: dict[str, Any]) -> list[str]:
    # PostgreSQL's text cannot hold NUL, so no field may, at any depth.
    return [name for name, inner in value.items() if _has_nul([name, inner])]


def _has_nul(value: Any) -> bool:
    # A loop, not recursion: the parser admits deeper nesting than the interpreter's stack.
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str) and "\0" in item:
            return True
        if isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            pending += item
    return False


_SENTENCES = {
    "extra_forbidden": "Unknown field",
    "missing": "{label} is required",
    "string_too_short": "{label} must be at least {min_length} characters",
    "string_too_long": "{label} must be at most {max_length} characters",
    "string_type": "{label} must be a string",
    "string_pattern_mismatch": "{label} has an invalid format",
    "int_type": "{label} must be a whole number",
    "int_parsing": "{label} must be a whole number",
    "int_from_float": "{label} must be a whole number",
    "bool_type": "{label} must be true or false",
    "bool_parsing": "{label} must be true or false",
    "decimal_type": "{label} must be a decimal number",
    "decimal_parsing": "{label} must be a decimal number",
    "decimal_max_places": "{label} must have at most {decimal_places} decimal places",
    "decimal_max_digits": "{label} is too large",
    "decimal_whole_digits": "{label} is too large",
    "finite_number": "{label} must be a finite number",
    "greater_than": "{label} must be greater than {gt}",
    "greater_than_equal": "{label} must be at least {ge}",
    "less_than": "{label} must be less than {lt}",
    "less_than_equal": "{label} must be at most {le}",
    "uuid_type": "{label} must be a UUID",
    "uuid_parsing": "{label} must be a UUID",
    "date_type": "{label} must be a date (YYYY-MM-DD)",
    "date_parsing": "{label} must be a date (YYYY-MM-DD)",
    "date_from_datetime_parsing": "{label} must be a date (YYYY-MM-DD)",
    "date_from_datetime_inexact": "{label} must be a date (YYYY-MM-DD)",
    "datetime_type": "{label} must be a time (ISO 8601)",
    "datetime_parsing": "{label} must be a time (ISO 8601)",
    "datetime_from_date_parsing": "{label} must be a time (ISO 8601)",
    "timezone_aware": "{label} must carry a time zone",
    "list_type": "{label} must be a list",
    "too_long": "{label} must have at most {max_length} items",
    "too_short": "{label} must have at least {min_length} items",
    "enum": "{label} must be one of {expected}",
    "literal_error": "{label} must be one of {expected}",
}


def _sentence(fault: ErrorDetails) -> str:
    pattern = _SENTENCES.get(fault["type"])
    if pattern is None:
        # Our own checks (PydanticCustomError, ValueError) bring their sentence along.
        return fault["msg"].removeprefix("Value error, ")
    return pattern.format(label=_label(fault), **{"expected": "", **fault.get("ctx", {})})


def _label(fault: ErrorDetails) -> str:
    """`per_page` and `perPage` read "Per page"."""
    named = [part for part in fault["loc"] if isinstance(part, str)]
    words = re.sub(r"(?<=[a-z])([A-Z])", r" \1", named[-1]).replace("_", " ").lower() if named else "value"
    return words.capitalize()
