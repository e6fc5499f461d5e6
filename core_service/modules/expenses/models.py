"""What clients send for categories and expenses, and the rules that need no database."""

import datetime
import re
import unicodedata
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from common.validation import ONE_LINE, Input, PageQuery

DEFAULT_COLOR = "#3182ce"
DEFAULT_CATEGORIES = ("Food", "Transport", "Shopping", "Bills", "Entertainment", "Health")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class Owner(NamedTuple):
    """Whose rows a query may touch: one person's within one organization."""

    user_id: UUID
    org_id: UUID


def _decimal(value: Any) -> Decimal:
    """A string of digits or a JSON number, without any rounding.

    A number is taken by its shortest decimal text: up to 15 digits (amounts have 12) that is what the client wrote.
    """
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    raise PydanticCustomError("decimal_parsing", "Must be a decimal number")


def _date(value: Any) -> datetime.date:
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            pass  # the 30th of February
    raise PydanticCustomError("date_parsing", "Must be a date")


def _tag_list(value: Any) -> Any:
    """`a,b`, given once or several times, as a list; the empty string asks for nothing."""
    given = [value] if isinstance(value, str) else value
    return [tag for part in given for tag in part.split(",") if tag.strip()]


Money = Annotated[Decimal, BeforeValidator(_decimal), Field(max_digits=12, decimal_places=2)]
Day = Annotated[datetime.date, BeforeValidator(_date)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]
PaymentMethod = Literal["cash", "card", "transfer", "digital_wallet", "other"]


class CategoryInput(Input):
    """A category as a client writes it. `is_default` may be sent back as it was read; only the service sets it."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), ONE_LINE]
    description: str | None = Field(None, max_length=500)
    color: str = Field(DEFAULT_COLOR, pattern=r"\A#[0-9A-Fa-f]{6}\z")
    icon: str | None = Field(None, max_length=50)
    is_default: bool = False

    @property
    def name_key(self) -> str:
        return name_key(self.name)


class Category(BaseModel):
    """A category as clients read it."""

    id: UUID
    name: str
    description: str | None
    color: str
    icon: str | None
    is_default: bool
    created_at: datetime.datetime
    updated_at: datetime.datetime


def name_key(name: str) -> str:
    """What two names must not share: "Café" and "CAFÉ" are one, however their accents are encoded (Unicode 3.13)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


class ExpenseInput(Input):
    """An expense as a client writes it; a replacement is the same, whole."""

    amount: Money = Field(gt=0)
    date: Day
    category_id: UUID
    description: str | None = Field(None, max_length=255)
    payment_method: PaymentMethod | None = None
    tags: list[Tag] = Field(default_factory=list, max_length=10)
    notes: str | None = Field(None, max_length=2000)
    currency: str = Field("USD", pattern=r"\A[A-Z]{3}\z")

    @field_validator("tags")
    @classmethod
    def _distinct(cls, tags: list[str]) -> list[str]:
        if any("," in tag for tag in tags):
            raise PydanticCustomError("comma", "A tag must not contain a comma: the filter separates tags with it")
        return list(dict.fromkeys(tags))


class Expense(BaseModel):
    """An expense as clients read it; `amount` is a string with two decimals."""

    id: UUID
    amount: str = Field(pattern=r"^[0-9]+\.[0-9]{2}$")
    currency: str
    date: datetime.date
    category_id: UUID
    description: str | None
    payment_method: PaymentMethod | None
    tags: list[str]
    notes: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


class ExpenseQuery(PageQuery):
    """Which expenses, and which page of them. Bounds are inclusive; every given tag must be present."""

    start_date: Day | None = None
    end_date: Day | None = None
    category_id: UUID | None = None
    min_amount: Money | None = Field(None, ge=0)
    max_amount: Money | None = Field(None, ge=0)
    payment_method: PaymentMethod | None = None
    tags: Annotated[list[Tag], BeforeValidator(_tag_list)] = Field(default_factory=list, max_length=10)

    @field_validator("end_date")
    @classmethod
    def _dates_in_order(cls, end: datetime.date | None, info: ValidationInfo) -> datetime.date | None:
        _require_order(info.data.get("start_date"), end, "start_date", "end_date")
        return end

    @field_validator("max_amount")
    @classmethod
    def _amounts_in_order(cls, high: Decimal | None, info: ValidationInfo) -> Decimal | None:
        _require_order(info.data.get("min_amount"), high, "min_amount", "max_amount")
        return high


def _require_order(low: Any, high: Any, low_field: str, high_field: str) -> None:
    if low is not None and high is not None and low > high:
        raise PydanticCustomError(
            "order", f"{low_field} must not be greater than {high_field}", {"fields": [low_field, high_field]}
        )
