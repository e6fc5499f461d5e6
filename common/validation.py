"""Bad input becomes one 422 that names every faulty field, in sentences a person would write."""

import re
import unicodedata
from typing import Any, Generic, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from common.errors import ValidationError
from common.sentences import sentence

AnyModel = TypeVar("AnyModel", bound=BaseModel)
Item = TypeVar("Item")


def _is_line(text: str) -> str:
    if any(unicodedata.category(character) == "Cc" or character in _BIDI for character in text):
        raise PydanticCustomError("line", "Must not contain control characters")
    return text


# They make a name read otherwise than it is stored.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# For names and titles, which end up in pages, logs and mail headers.
ONE_LINE = AfterValidator(_is_line)


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
                faults.setdefault(field, []).append(sentence(fault, _label(fault)))
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


def _label(fault: ErrorDetails) -> str:
    """`per_page` and `perPage` read "Per page"."""
    named = [part for part in fault["loc"] if isinstance(part, str)]
    words = re.sub(r"(?<=[a-z])([A-Z])", r" \1", named[-1]).replace("_", " ").lower() if named else "value"
    return words.capitalize()
