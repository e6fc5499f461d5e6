"""PostgreSQL and Valkey or Redis: reachable, of a version we know, set up as we need them."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import redis
from alembic.script import ScriptDirectory
from psycopg import sql

from ops.embedded import Postgres, Valkey
from ops.migrate import shipped_locations
from ops.migrate.database import VERSION_SCHEMA, said
from ops.stack.configuration import Configuration, where
from ops.stack.database import running_url
from ops.stack.doctor import Finding

_CONNECT_SECONDS = 5
_VERSIONS = range(15, 19)
_CLOCK_SECONDS_MAX = 2
_RECORDED = sql.SQL("SELECT version_num FROM {}.alembic_version").format(sql.Identifier(VERSION_SCHEMA))
_START = "`gatehouse up` starts it"


def database(configuration: Configuration) -> Iterator[Finding]:
    url = configuration.owner_url or running_url(Postgres, configuration)
    if url is None:
        yield Finding("Database", "skip", "the embedded PostgreSQL is not running", _START)
        return
    try:
        with psycopg.connect(url, connect_timeout=_CONNECT_SECONDS, autocommit=True) as connection:
            yield _version(connection, where(url, 5432))
            yield _clock(connection)
            yield _migrations(connection)
    except psycopg.Error as error:
        detail = f"{where(url, 5432)}: {said(error)}"
        yield Finding("Database", "fail", detail, "check DATABASE_URL and that the server runs")
        return
    yield _roles(configuration)


def store(configuration: Configuration) -> Iterator[Finding]:
    url = configuration.redis_url or running_url(Valkey, configuration)
    if url is None:
        yield Finding("Store", "skip", "the embedded Valkey is not running", _START)
        return
    place = where(url, 6379)
    try:
        with redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=_CONNECT_SECONDS, socket_connect_timeout=_CONNECT_SECONDS
        ) as client:
            yield _store(client, place)
            yield _password(client)
    except (redis.RedisError, ValueError) as error:
        yield Finding("Store", "fail", f"{place}: {error}", "check REDIS_URL and that the server runs")


def _version(connection: psycopg.Connection[Any], place: str) -> Finding:
    major = connection.info.server_version // 10_000
    detail = f"PostgreSQL {major} at {place}"
    if major not in _VERSIONS:
        known = f"{_VERSIONS.start} to {_VERSIONS.stop - 1}"
        return Finding("Database", "fail" if major < _VERSIONS.start else "warn", detail, f"use PostgreSQL {known}")
    return Finding("Database", "ok", detail)


def _clock(connection: psycopg.Connection[Any]) -> Finding:
    """Tokens expire by our clock and rows by the database's."""
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    apart = abs(time.time() - row[0]) if row else 0.0
    if apart > _CLOCK_SECONDS_MAX:
        return Finding("Clock", "fail", f"{apart:.0f} s apart from the database's", "run a time service (NTP) on both")
    return Finding("Clock", "ok", "agrees with the database's")


def _migrations(connection: psycopg.Connection[Any]) -> Finding:
    """Every branch's newest revision must be among those recorded."""
    script = ScriptDirectory(Path(__file__).parent, version_locations=list(shipped_locations().values()))
    try:
        recorded = {row[0] for row in connection.execute(_RECORDED)}
    except psycopg.errors.UndefinedTable:
        recorded = set()
    if missing := sorted(set(script.get_heads()) - recorded):
        return Finding("Migrations", "fail", f"missing: up to {', '.join(missing)}", "run `gatehouse migrate`")
    return Finding("Migrations", "ok", "all applied")


def _roles(configuration: Configuration) -> Finding:
    if configuration.uses_embedded_postgres or configuration.has_owner:
        return Finding("Roles", "ok", "each service has a role that reaches its own schema only")
    return Finding(
        "Roles",
        "warn",
        "one role owns the schemas and serves all services",
        "set MIGRATE_DATABASE_URL to a role that may create roles; each service then gets one of its own",
    )


def _store(client: redis.Redis, place: str) -> Finding:
    client.ping()
    try:
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "")
    except redis.ResponseError:
        return Finding(
            "Store", "warn", f"{place} does not show its policy", "make sure it is maxmemory-policy noeviction"
        )
    if policy != "noeviction":
        return Finding("Store", "fail", f"{place} evicts ({policy}): limits would be forgotten", _EVICTION_FIX)
    return Finding("Store", "ok", f"{place}, noeviction")


_EVICTION_FIX = "set maxmemory-policy noeviction"


def _password(client: redis.Redis) -> Finding:
    if client.connection_pool.connection_kwargs.get("password"):
        return Finding("Store password", "ok", "asked for")
    return Finding("Store password", "warn", "none", "set requirepass there and put the password into REDIS_URL")
