"""Valkey or Redis: closed to strangers, bounded, never forgetting."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.embedded import Valkey
from ops.stack.configuration import where
from ops.stack.database import running_url
from ops.stack.doctor import Finding
from ops.stack.doctor.production.exposure import is_loopback
from ops.stack.doctor.production.host import Host

_SECONDS = 5


def check(host: Host) -> Iterator[Finding]:
    url = host.configuration.redis_url
    if url is None and not host.configuration.faults:
        url = running_url(Valkey, host.configuration)
    if not url:
        yield Finding("Store closed", "skip", "no store is set, and the embedded one is not running")
        return
    try:
        yield _closed(url)
        yield _bounded(url)
    except (redis.RedisError, ValueError) as error:
        yield Finding("Store closed", "fail", f"{where(url, 6379)}: {error}", "check REDIS_URL and that it runs")
    if url.startswith("redis://") and not is_loopback(urlsplit(url).hostname or ""):
        fix = "use rediss:// with TLS, unless the network between is yours alone"
        yield Finding("Store TLS", "warn", f"{where(url, 6379)} is reached in the clear", fix)


def _client(url: str) -> redis.Redis:
    once = Retry(NoBackoff(), 0)  # being refused is an answer, and not to be asked for again
    return redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS, retry=once
    )


def _closed(url: str) -> Finding:
    """Asked without the password that the URL holds."""
    parts = urlsplit(url)
    stranger = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    with _client(stranger) as client:
        try:
            client.ping()
        except redis.AuthenticationError:
            return Finding("Store closed", "ok", f"{where(url, 6379)} refuses who has no password")
    fix = "set requirepass there and put the password into REDIS_URL"
    return Finding("Store closed", "fail", f"{where(url, 6379)} answers without a password", fix)


def _bounded(url: str) -> Finding:
    with _client(url) as client:
        try:
            size = int(client.config_get("maxmemory").get("maxmemory", 0))
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "")
        except redis.ResponseError:
            return Finding("Store memory", "skip", "it does not show its configuration")
    if policy != "noeviction":
        return Finding(
            "Store memory", "fail", f"{policy}: limits would be forgotten", "set maxmemory-policy noeviction"
        )
    if not size:
        return Finding(
            "Store memory", "warn", "maxmemory is not set", "set maxmemory 256mb, so that it cannot take all"
        )
    return Finding("Store memory", "ok", f"{size / (1 << 20):.0f} MiB at most, noeviction")
