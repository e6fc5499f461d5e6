"""Whose request this is, where only a user will do."""

from aiohttp import web

from common.errors import Unauthorized
from common.identity import IDENTITY, Identity


def caller(request: web.Request) -> Identity:
    """The proven caller of a route that asks for a permission."""
    return request[IDENTITY]


def gone() -> Unauthorized:
    """For a caller who was proven a moment ago and has been deleted since."""
    return Unauthorized(detail="the user no longer exists")
