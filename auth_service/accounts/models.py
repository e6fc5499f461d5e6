"""What comes in, what is stored, what goes out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from auth_service.accounts import rules
from auth_service.accounts.addresses import InvalidAddress, normalize
from auth_service.answers import CamelAnswer
from common.validation import ONE_LINE, CamelInput, Input


def _address(text: str) -> str:
    text = text.strip()
    try:
        normalize(text)
    except InvalidAddress:
        raise ValueError("Invalid email format") from None
    return text


Email = Annotated[str, AfterValidator(_address)]
Username = Annotated[str, StringConstraints(min_length=3, max_length=100, pattern=r"^[a-zA-Z0-9_]+$")]
FullName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), ONE_LINE]
NewPassword = Annotated[str, StringConstraints(min_length=rules.LENGTH_MIN, max_length=rules.LENGTH_MAX)]
# What is only compared: any string is an attempt.
AnyPassword = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Registration(Input):
    email: Email
    username: Username | None = None
    full_name: FullName | None = None
    # Last, so that it can be compared with the names above.
    password: NewPassword

    @field_validator("password")
    @classmethod
    def _not_guessable(cls, password: str, info: ValidationInfo) -> str:
        names = (info.data.get(field) for field in ("email", "username", "full_name"))
        if fault := rules.weakness(password, names):
            raise ValueError(fault)
        return password


class Profile(Input):
    """A change; fields left out stay as they are, null clears."""

    username: Username | None = None
    full_name: FullName | None = None


class PasswordChange(CamelInput):
    current_password: AnyPassword
    new_password: NewPassword


@dataclass(frozen=True, slots=True)
class Account:
    """A user as a member of one organization."""

    id: UUID
    email: str | None
    username: str | None
    full_name: str | None
    version: int
    is_verified: bool
    created_at: datetime
    updated_at: datetime
    org: UUID
    role: str
    tier: str


class UserView(CamelAnswer):
    id: UUID
    email: str | None
    username: str | None
    full_name: str | None = Field(serialization_alias="full_name")
    organization_id: UUID
    role: str
    tier: str
    is_verified: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, account: Account) -> "UserView":
        return cls(
            id=account.id,
            email=account.email,
            username=account.username,
            full_name=account.full_name,
            organization_id=account.org,
            role=account.role,
            tier=account.tier,
            is_verified=account.is_verified,
            created_at=account.created_at,
            updated_at=account.updated_at,
        )


class UserAnswer(CamelAnswer):
    user: UserView
