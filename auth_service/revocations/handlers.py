"""The feed over HTTP, for whoever holds the service key."""

from typing import Any

from aiohttp import web

from auth_service.clock import utc_now
from auth_service.revocations import store
from auth_service.revocations.models import Feed, FeedQuery
from common.postgres import DATABASE
from common.routes import Access, Route


async def get_feed(request: web.Request, query: FeedQuery) -> dict[str, Any]:
    async with request.app[DATABASE].connection() as conn:
        latest, items = await store.read(conn, query.after, query.limit, utc_now())
    return {"items": items, "latest": latest}


routes = [
    Route(
        method="GET",
        path="/internal/revocations",
        handler=get_feed,
        summary="Revocations beyond a sequence number, in order",
        permission=Access.PUBLIC,
        query=FeedQuery,
        answer=Feed,
    ),
]
