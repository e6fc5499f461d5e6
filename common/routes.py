"""The route declaration. One place states everything about a route; it drives validation, permission and docs."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import BaseModel

from common import json
from common.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    PayloadTooLarge,
    Unauthorized,
    UnsupportedMediaType,
    ValidationError,
)
from common.identity import IDENTITY
from common.validation import validate

Handler = Callable[..., Awaitable[Any]]


class Access(Enum):
    """Who may call a route that names no permission."""

    PUBLIC = "public"  # anybody the edge lets through
    SIGNED_IN = "signed_in"  # any proven caller: what is asked for is their own


@dataclass(frozen=True, kw_only=True)
class Route:
    """One route, whole.

    The handler is called with the request, then by keyword with `body` and `query` where declared and with each
    path parameter (as a UUID where its name is `id` or ends in `_id`). What it returns becomes `data` of the
    success envelope; None with status 204 sends no body; a `web.StreamResponse` goes out as it is.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    permission: str | Access
    body: type[BaseModel] | None = None
    is_body_optional: bool = False  # a request without a body is taken for one with `{}`
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    body_bytes_max: int = 64 * 1024

    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


ROUTES: web.AppKey[list[Route]] = web.AppKey("routes", list)


def add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    """Adds `routes` to the application and to the list that documents and tests read."""
    for route in routes:
        handle = _adapter(route)
        app.router.add_route(route.method, route.path, handle)
        if route.method == "GET":
            # RFC 9110 section 9.3.2: HEAD is GET without the content; aiohttp leaves that out by itself.
            app.router.add_route("HEAD", route.path, handle)
        app[ROUTES].append(route)


def _adapter(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    ids = {name: name == "id" or name.endswith("_id") for name in route.parameters()}

    async def handle(request: web.Request) -> web.StreamResponse:
        request[TEMPLATE] = route.path
        authorize(request, route.permission)
        arguments: dict[str, Any] = {
            name: _uuid(request.match_info[name]) if is_id else request.match_info[name] for name, is_id in ids.items()
        }
        if route.query is not None:
            arguments["query"] = validate(route.query, query_values(request))
        if route.body is not None:
            is_left_out = route.is_body_optional and not request.body_exists
            value = {} if is_left_out else await read_json(request, route.body_bytes_max)
            arguments["body"] = validate(route.body, value)
        return _answer(route, await route.handler(request, **arguments))

    return handle


TEMPLATE: web.RequestKey[str] = web.RequestKey("template", str)


def authorize(request: web.Request, permission: str | Access) -> None:
    """Raises Unauthorized or Forbidden; runs before the body is read."""
    if permission is Access.PUBLIC:
        return
    identity = request.get(IDENTITY)
    if identity is None:
        raise Unauthorized
    if isinstance(permission, str) and not identity.allows(permission):
        raise Forbidden(f"This needs the permission {permission}")


def query_values(request: web.Request) -> dict[str, Any]:
    """Query parameters; one given twice becomes a list, which only list fields accept."""
    values: dict[str, Any] = {}
    for name in request.query:
        given = request.query.getall(name)
        values[name] = given[0] if len(given) == 1 else given
    return values


async def read_json(request: web.Request, bytes_max: int) -> Any:
    """The parsed body. Raises 415, 413 (without reading it all), 400, or 422 for a number beyond all bounds."""
    if request.content_type != "application/json" and not request.content_type.endswith("+json"):
        raise UnsupportedMediaType
    raw = await read_body(request, bytes_max)
    try:
        return json.loads(raw)
    except orjson.JSONDecodeError as error:
        if "number is infinity" in str(error):  # 1e400 is JSON, though no number that anything here could hold
            raise ValidationError({"body": ["Numbers must be finite"]}) from None
        raise BadRequest(_malformed(error, raw), detail=str(error)) from None


def _malformed(error: orjson.JSONDecodeError, raw: bytes) -> str:
    return f"Malformed JSON at line {error.lineno}, column {error.colno}" if raw else "A JSON body is needed"


async def read_body(request: web.Request, bytes_max: int) -> bytes:
    """At most `bytes_max` bytes of body."""
    too_large = PayloadTooLarge(f"Request body is larger than {bytes_max} bytes")
    if (request.content_length or 0) > bytes_max:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > bytes_max:
                raise too_large
    except web.RequestPayloadError as error:
        raise BadRequest("The request body ended early", detail=str(error)) from None
    return bytes(body)


def _uuid(text: str) -> UUID:
    # An id that is no UUID names nothing, whatever else it is.
    try:
        return UUID(text)
    except ValueError:
        raise NotFound from None


def _answer(route: Route, data: Any) -> web.StreamResponse:
    if isinstance(data, web.StreamResponse):
        return data
    if route.status == 204:
        return web.Response(status=204)
    return success(data, status=route.status)


def success(data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """`{"success": true, "data": …}`; pydantic models are dumped by their JSON names."""
    if isinstance(data, BaseModel):
        data = data.model_dump(mode="json", by_alias=True)
    return web.Response(
        body=json.dumps({"success": True, "data": data}),
        status=status,
        content_type="application/json",
        headers=headers,
    )
