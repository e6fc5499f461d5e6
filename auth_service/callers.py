"""Whose request this is, where only a user will do."""

from uuid import UUID

from aiohttp import web

from common.errors import Forbidden, Unauthorized
from common.identity import IDENTITY, Identity


def caller(request: web.Request) -> Identity:
    """The proven caller of a route that asks for a permission."""
    return request[IDENTITY]


def own_user(identity: Identity) -> UUID:
    """The caller's user. Raises Forbidden for a key that belongs to an organization alone."""
    if identity.user is None:
        raise Forbidden(detail="the key has no user")
    return identity.user


def gone() -> Unauthorized:
    """For a caller who was proven a moment ago and has been deleted since."""
    return Unauthorized(detail="the user no longer exists")
