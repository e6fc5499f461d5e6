"""The kit of an internal service: middlewares, errors, health. Auth and core are built on it.

Middleware order, outermost first: request_id → access_log → errors → service_key → deadline.
`runner` serves it: what the HTTP parser refuses never becomes a request, and is answered there.
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import structlog
from aiohttp import web
from structlog.contextvars import bound_contextvars

from common import error_tracking, errors, json, logs
from common.errors import ApiError
from common.health import Check, add_health
from common.http_server import Runner
from common.identity import IDENTITY, ROUTE_HEADER, from_headers
from common.ids import RequestIds
from common.metrics import METRICS, HttpMetrics
from common.routes import ROUTES, TEMPLATE
from common.runtime import RUNTIME, Runtime

log = structlog.get_logger()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
SERVICE_KEY: web.AppKey[str] = web.AppKey("service_key", str)
_REQUEST_IDS: web.AppKey[RequestIds] = web.AppKey("request_ids", RequestIds)
_DEADLINE_SECONDS = 35.0  # longer than the wait for a database connection, which has the better message
_KEEP_ALIVE_SECONDS = 75.0  # longer than the edge keeps an idle connection, so that it is the edge who closes
# More than the edge accepts and adds: a head that passed there must not fail here.
_HEADER_BYTES_MAX = 64 * 1024
_HEADERS_MAX = 256
_OPEN_PATHS = frozenset({"/health", "/health/ready", "/health/db", "/metrics"})


def create_service(name: str, *, service_key: str, runtime: Runtime, checks: Mapping[str, Check]) -> web.Application:
    """An application with everything but its routes. `service_key` is what the edge must show."""
    app = web.Application(middlewares=[request_id, access_log, render_errors, require_service_key, deadline])
    app[ROUTES] = []
    app[SERVICE_KEY] = service_key
    app[METRICS] = HttpMetrics(name)
    app[RUNTIME] = runtime
    app[_REQUEST_IDS] = RequestIds()
    app.on_response_prepare.append(_add_headers)
    app.on_response_prepare.append(runtime.announce_closing)
    add_health(app, name, checks)
    return app


def runner(app: web.Application, *, shutdown_seconds: float) -> web.AppRunner:
    """Serves an application of `create_service`; `shutdown_seconds` is how long its clean-up waits for requests."""

    async def unreadable(request: web.BaseRequest, error: ApiError) -> web.StreamResponse:
        return _refuse_unreadable(app, cast("web.Request", request), error)

    return Runner(
        app,
        unreadable,
        access_log=None,  # ours is a middleware
        keepalive_timeout=_KEEP_ALIVE_SECONDS,
        max_line_size=_HEADER_BYTES_MAX,
        max_field_size=_HEADER_BYTES_MAX,
        max_headers=_HEADERS_MAX,
        shutdown_timeout=shutdown_seconds,
    )


@web.middleware
async def request_id(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[REQUEST_ID] = request.app[_REQUEST_IDS].keep_or_make(request.headers.get("X-Request-ID"))
    with bound_contextvars(request_id=request[REQUEST_ID]):
        return await handler(request)


@web.middleware
async def access_log(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path in _OPEN_PATHS:
        return await handler(request)
    started = time.perf_counter()
    metrics = request.app[METRICS]
    metrics.in_flight += 1
    status, size = 499, 0  # what stays if the edge goes away before there is an answer
    try:
        response = await handler(request)
        status, size = response.status, response.body_length
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            size = len(response.body)
        return response
    finally:
        seconds = time.perf_counter() - started
        metrics.in_flight -= 1
        route = request.get(TEMPLATE, "unmatched")
        metrics.record(route, request.method, status, seconds)
        # The edge's own questions come every second; they would bury what people ask.
        is_internal = request.path.startswith("/internal/")
        write = log.debug if is_internal else log.info
        if not is_internal:
            error_tracking.trace(request[REQUEST_ID], f"{request.method} {route}", status, seconds)
        write(
            "request",
            method=request.method,
            path=request.path,
            route=request.get(TEMPLATE),
            status=status,
            bytes=size,
            seconds=round(seconds, 6),
            user=request.headers.get("X-Gatehouse-User"),
            **logs.ACCESS.details(request, address=request.headers.get("X-Real-IP", "")),
        )


@web.middleware
async def render_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        _log_error(error)
        return error_response(request, error)
    except web.HTTPException as error:
        return error_response(request, _from_aiohttp(error))
    except Exception:
        log.exception("request_failed")
        return error_response(request, ApiError())


@web.middleware
async def require_service_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path in _OPEN_PATHS:
        return await handler(request)
    # aiohttp reads bytes that are no UTF-8 as lone surrogates.
    offered = request.headers.get("Authorization", "").encode(errors="surrogateescape")
    if not hmac.compare_digest(offered, f"ApiKey {request.app[SERVICE_KEY]}".encode()):
        raise errors.Unauthorized("This service answers the edge only")
    try:
        identity = from_headers(request.headers)
    except ValueError as error:
        raise errors.BadRequest("The identity headers are malformed", detail=str(error)) from None
    if identity is not None:
        request[IDENTITY] = identity
    return await handler(request)


@web.middleware
async def deadline(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            return await handler(request)
    except TimeoutError:
        raise errors.ServiceUnavailable("The request took too long", detail="deadline") from None


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    if REQUEST_ID in request:
        response.headers["X-Request-ID"] = request[REQUEST_ID]
    if TEMPLATE in request:
        response.headers[ROUTE_HEADER] = request[TEMPLATE]


def error_response(request: web.Request, error: ApiError) -> web.Response:
    body = errors.envelope(error, method=request.method, path=request.path, request_id=request[REQUEST_ID])
    return web.Response(
        body=json.dumps(body), status=error.status, content_type="application/json", headers=error.headers
    )


def _refuse_unreadable(app: web.Application, request: web.Request, error: ApiError) -> web.Response:
    request[REQUEST_ID] = app[_REQUEST_IDS].keep_or_make(None)
    log.info("request_unreadable", status=error.status, detail=error.detail, request_id=request[REQUEST_ID])
    app[METRICS].record("unmatched", request.method, error.status, 0)
    response = error_response(request, error)
    response.headers["X-Request-ID"] = request[REQUEST_ID]  # the application's signals do not reach this answer
    response.force_close()
    return response


def _from_aiohttp(error: web.HTTPException) -> ApiError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return errors.MethodNotAllowed(sorted(error.allowed_methods))
    if error.status == 404:
        return errors.NotFound()
    return errors.BadRequest() if error.status < 500 else ApiError(detail=error.reason)


def _log_error(error: ApiError) -> None:
    if error.status >= 500:
        log.error("request_error", error=error.error, message=error.message, detail=error.detail)
    elif error.detail:
        log.info("request_refused", error=error.error, detail=error.detail)
