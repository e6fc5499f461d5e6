"""The feed as others read it."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from common.validation import Input


class FeedQuery(Input):
    after: int = Field(0, ge=0, le=2**63 - 1)
    limit: int = Field(1000, ge=1, le=1000)


class Revocation(BaseModel):
    """`before` only for kind version: tokens with a lower `ver` are expired. `expires_at` is a Unix second."""

    seq: int
    kind: Literal["session", "key", "user", "version"]
    subject: UUID
    before: int | None
    expires_at: int


class Feed(BaseModel):
    items: list[Revocation]
    latest: int
