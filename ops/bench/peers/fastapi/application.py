"""The policy as FastAPI applications usually have it: a middleware for id and log, dependencies for who and when."""

import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import uuid4

import httpx
import jwt
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from redis.asyncio import Redis

given = json.loads(os.environ["BENCH_SETTING"])
log = logging.getLogger("access")
log.addHandler(logging.FileHandler(given["log"]))
log.setLevel(logging.INFO)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=256)
    async with httpx.AsyncClient(base_url=given["upstream"], limits=limits) as client:
        app.state.client = client
        app.state.redis = Redis.from_url(given["redis"])
        yield
        await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def identify(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    started, request_id = time.perf_counter(), request.headers.get("x-request-id") or str(uuid4())
    request.state.id = request_id
    response = await call_next(request)
    response.headers["X-Request-ID"] = request_id
    line = {"request_id": request_id, "method": request.method, "path": request.url.path}
    log.info(json.dumps({**line, "status": response.status_code, "seconds": time.perf_counter() - started}))
    return response


async def user(request: Request) -> str:
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    try:
        claims = jwt.decode(token, given["secret"], ["HS256"], issuer="gatehouse", audience="gatehouse-api")
    except jwt.InvalidTokenError:
        raise HTTPException(401) from None
    return str(claims["sub"])


async def admitted(request: Request, user: Annotated[str, Depends(user)]) -> str:
    key = f"fastapi:{{user:{user}}}"
    rule = (given["limit"], given["window"] * 1_000_000, 1)
    answer: list[int] = await request.app.state.redis.evalsha(given["script"], 1, key, *rule)
    if not answer[0]:
        raise HTTPException(429)
    return user


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def forward(request: Request, user: Annotated[str, Depends(admitted)]) -> Response:
    kept: dict[str, Any] = {name: value for name, value in request.headers.items() if name == "accept"}
    headers = {**kept, "X-User": user, "X-Request-ID": request.state.id}
    body = await request.body()
    answer = await request.app.state.client.request(request.method, request.url.path, headers=headers, content=body)
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
