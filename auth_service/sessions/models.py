"""What comes in and goes out at sign-in and refresh."""

from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from pydantic import StringConstraints

from auth_service.accounts.models import Account, AnyPassword
from auth_service.answers import CamelAnswer
from common.validation import CamelInput, Input

RefreshText = Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class Login(Input):
    """No rules but lengths: any two strings are an attempt."""

    email: Annotated[str, StringConstraints(min_length=1, max_length=320)]
    password: AnyPassword


class Refresh(CamelInput):
    refresh_token: RefreshText


class Logout(CamelInput):
    refresh_token: RefreshText | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """One generation of a session; the access token lives for `expires_in` seconds."""

    account: Account
    access: str
    refresh: str
    expires_in: int


class TokenAnswer(CamelAnswer):
    access_token: str
    refresh_token: str
    expires_in: int
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the type, not a token


class SignedInUser(CamelAnswer):
    id: UUID
    email: str | None
    role: str
    organization_id: UUID


class LoginAnswer(TokenAnswer):
    user: SignedInUser
