"""`/api/v1/api-keys`, and the resolution of keys for edges."""

from typing import Any
from uuid import UUID

from aiohttp import web

from auth_service.callers import caller
from auth_service.keys.models import KeyPage, KeyView, NewKey, NewKeyView, Resolution, ResolvedKey
from auth_service.keys.service import KEYS
from common.routes import Access, Route
from common.validation import PageQuery, page


async def create_key(request: web.Request, body: NewKey) -> NewKeyView:
    key, text = await request.app[KEYS].create(caller(request), body)
    view = KeyView.of(key)
    return NewKeyView(key=text, **view.model_dump(exclude={"last_used_at"}))


async def list_keys(request: web.Request, query: PageQuery) -> dict[str, Any]:
    keys, total = await request.app[KEYS].list(caller(request), query)
    return page([KeyView.of(key).model_dump(by_alias=True) for key in keys], total, query)


async def get_key(request: web.Request, id: UUID) -> KeyView:  # noqa: A002 - the path parameter's name
    return KeyView.of(await request.app[KEYS].get(caller(request), id))


async def delete_key(request: web.Request, id: UUID) -> None:  # noqa: A002 - the path parameter's name
    await request.app[KEYS].revoke(caller(request), id)


async def resolve_key(request: web.Request, body: Resolution) -> ResolvedKey:
    return ResolvedKey.of(await request.app[KEYS].resolve(body.key))


routes = [
    Route(
        method="POST",
        path="/api/v1/api-keys",
        handler=create_key,
        summary="Make an API key; its text is in this answer only",
        permission="keys:write",
        body=NewKey,
        answer=NewKeyView,
        status=201,
    ),
    Route(
        method="GET",
        path="/api/v1/api-keys",
        handler=list_keys,
        summary="The caller's API keys",
        permission="keys:read",
        query=PageQuery,
        answer=KeyPage,
    ),
    Route(
        method="GET",
        path="/api/v1/api-keys/{id}",
        handler=get_key,
        summary="One of the caller's API keys",
        permission="keys:read",
        answer=KeyView,
    ),
    Route(
        method="DELETE",
        path="/api/v1/api-keys/{id}",
        handler=delete_key,
        summary="Revoke an API key",
        permission="keys:write",
        status=204,
    ),
    Route(
        method="POST",
        path="/internal/keys/resolve",
        handler=resolve_key,
        summary="The identity behind an API key, for edges",
        permission=Access.PUBLIC,
        body=Resolution,
        answer=ResolvedKey,
    ),
]
