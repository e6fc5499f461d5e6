"""What a route table may say: one entry of each kind, checked field by field."""

import ipaddress
import re
import ssl
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from common.errors import BadRequest
from common.http1.pool import parse_address
from common.permissions import PERMISSION
from edge.addresses import Network
from edge.health import PATHS as PROBES
from edge.policies.header_rules import require_request_rules, require_response_rules
from edge.policies.paths import normal_path

# As a Host header may say it (edge/policies/hosts.py), or all names below one.
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\]", re.IGNORECASE)
_UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _size(value: object) -> object:
    """`"1MiB"` or a number of bytes."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+)\s*(B|KiB|MiB|GiB|)", value)
    if match is None:
        raise ValueError('must be a size like "1MiB", "64KiB" or a number of bytes')
    return int(match[1]) * _UNITS[match[2]]


def _is_plain(path: str) -> bool:
    try:
        return normal_path(path) == path
    except BadRequest:
        return False


def _networks(value: object) -> object:
    """`["10.0.0.0/8", "192.0.2.7"]`; a text may hold several with commas between, as one variable does."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of addresses or ranges")
    listed = [text for item in value if item != NOT_SET for text in item.replace(",", " ").split()]
    return [_network(text) for text in listed]


def _allowed(value: object) -> object:
    """An empty list, as a variable with nothing in it makes one, must not let everybody in."""
    networks = _networks(value)
    if not networks and value != [NOT_SET]:
        raise ValueError("names nobody; leave it out where everybody may call")
    return networks


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no address or CIDR range") from None


def _stream(value: object) -> object:
    """`true` is a table without fields; `false` is nothing, which a table that was kept says as None."""
    if value is None or isinstance(value, bool):
        return {} if value else None
    if isinstance(value, dict):
        return value
    raise ValueError("must be true or a table such as { per_caller = 10, seconds = 3600, idle = 300 }")


Networks = Annotated[list[Network], BeforeValidator(_networks)]
Allowed = Annotated[list[Network], BeforeValidator(_allowed)]
NOT_SET = "http://not.set"  # in the place of a variable that is not there, which is a fault of its own
WEIGHT_MAX = 1000
Weight = Annotated[int, Field(ge=0, le=WEIGHT_MAX)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeoutsEntry(Entry):
    """Seconds: to connect, to the first byte of the answer, between two reads or writes."""

    connect: float = Field(5, gt=0, le=3600)
    first_byte: float = Field(60, gt=0, le=3600)
    idle: float = Field(60, gt=0, le=3600)


class CacheEntry(Entry):
    """How long answers are kept, in seconds; up to what size; whether everybody gets the same."""

    seconds: float = Field(gt=0, le=86400)
    shared: bool = False
    bytes_max: Size = 1024**2


class RulesEntry(Entry):
    """Headers to set, replacing what is there, and to remove."""

    set: dict[str, str] = {}
    remove: list[str] = []


class HeadersEntry(Entry):
    request: RulesEntry = RulesEntry()
    response: RulesEntry = RulesEntry()

    @pydantic.field_validator("request")
    @classmethod
    def _check_request(cls, rules: RulesEntry) -> RulesEntry:
        require_request_rules(rules.set, rules.remove)
        return rules

    @pydantic.field_validator("response")
    @classmethod
    def _check_response(cls, rules: RulesEntry) -> RulesEntry:
        require_response_rules(rules.set, rules.remove)
        return rules


class TlsEntry(Entry):
    """How https servers are known: the authorities that vouch for them, the name in their certificate."""

    ca: Path | None = None
    server_name: str | None = Field(None, min_length=1)

    @pydantic.field_validator("ca")
    @classmethod
    def _check_ca(cls, ca: Path | None) -> Path | None:
        try:
            ssl.create_default_context(cafile=ca) if ca else None
        except OSError as error:  # ssl.SSLError is one
            reason = "holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise ValueError(f"{ca} cannot be used: {reason}") from None
        return ca


class HealthEntry(Entry):
    """Seconds: from one check to the next, and for one check to pass."""

    path: str
    interval: float = Field(30, gt=0, le=3600)
    timeout: float = Field(5, gt=0, le=3600)

    @pydantic.field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if re.fullmatch(r"/[!-~]*", path) is None:
            raise ValueError("must be a path such as /health")
        return path


class StreamEntry(Entry):
    """How many streams a caller may have open, how long one may last and be quiet (seconds)."""

    per_caller: int = Field(10, ge=1, le=100_000)
    seconds: float = Field(3600, gt=0, le=7 * 86400)
    idle: float = Field(300, gt=0, le=86400)


class UpstreamEntry(Entry):
    servers: list[str] = Field(min_length=1)
    weight: dict[str, Weight] = {}
    service_key: str | None = None
    tls: TlsEntry | None = None
    connections_max: int = Field(1024, ge=1, le=65535)
    health: HealthEntry | None = None

    @pydantic.field_validator("servers")
    @classmethod
    def _check_servers(cls, servers: list[str]) -> list[str]:
        servers = [server.rstrip("/") for listed in servers for server in listed.replace(",", " ").split()]
        if not servers:
            raise ValueError("must name a server")
        for server in servers:
            parse_address(server)
        known = [server for server in servers if server != NOT_SET]
        if len(set(known)) < len(known):
            raise ValueError("must name each server once; weight says how much it gets")
        return servers

    @pydantic.field_validator("weight")
    @classmethod
    def _check_weight(cls, weight: dict[str, int], info: pydantic.ValidationInfo) -> dict[str, int]:
        weight = {server.rstrip("/"): share for server, share in weight.items()}
        servers = info.data.get("servers", list(weight))
        if unknown := weight.keys() - set(servers):
            raise ValueError(f"{min(unknown)} is none of the servers")
        if not any(weight.get(server, 1) for server in servers):
            raise ValueError("must leave at least one server more than 0")
        return weight

    @pydantic.field_validator("tls")
    @classmethod
    def _check_tls(cls, tls: TlsEntry | None, info: pydantic.ValidationInfo) -> TlsEntry | None:
        if tls and not any(server.startswith("https://") for server in info.data.get("servers", ["https://"])):
            raise ValueError("none of the servers is https://, so nothing would be verified")
        return tls


class RouteEntry(Entry):
    path: str
    upstream: str
    auth: Literal["required", "optional", "none"] = "required"
    limits: list[Literal["general", "auth", "search", "email", "ai"]] = ["general"]
    hosts: list[str] = []
    methods: list[Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]] = []
    permission: str | None = None
    allow: Allowed = []
    deny: Networks = []
    counts_for_ban: bool = False
    strip_prefix: bool = False
    rewrite: str | None = None
    body_max: Size | None = None
    timeout: TimeoutsEntry = TimeoutsEntry()
    retries: int = Field(1, ge=0, le=5)
    errors: Literal["envelope", "openai"] = "envelope"
    pass_authorization: bool = False
    headers: HeadersEntry = HeadersEntry()
    compress: bool | None = None
    cache: CacheEntry | None = None
    websocket: bool = False
    stream: Annotated[StreamEntry | None, BeforeValidator(_stream)] = None
    enabled: bool = True

    @pydantic.field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if not _is_plain(path):
            raise ValueError("must be a plain path such as /api/v1/reports, without pattern, query or escapes")
        if path in PROBES:
            raise ValueError(f"{path} is the edge's own")
        return path

    @pydantic.field_validator("hosts")
    @classmethod
    def _check_hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if host != NOT_SET and _HOST.fullmatch(host) is None:
                raise ValueError(
                    f"{host!r} is no host such as api.example.com or *.example.com, without scheme and port"
                )
        return hosts

    @pydantic.field_validator("rewrite")
    @classmethod
    def _check_rewrite(cls, rewrite: str | None, info: pydantic.ValidationInfo) -> str | None:
        if rewrite is not None and not _is_plain(rewrite):
            raise ValueError("must be a plain path such as /v2, without pattern, query or escapes")
        if rewrite is not None and info.data.get("strip_prefix"):
            raise ValueError("strip_prefix removes what this replaces; use one of them")
        return rewrite

    @pydantic.field_validator("websocket")
    @classmethod
    def _check_websocket(cls, websocket: bool, info: pydantic.ValidationInfo) -> bool:
        if websocket and info.data.get("methods") and "GET" not in info.data["methods"]:
            raise ValueError("a WebSocket is opened with GET, which is not among the methods")
        return websocket

    @pydantic.field_validator("stream")
    @classmethod
    def _check_stream(cls, stream: StreamEntry | None, info: pydantic.ValidationInfo) -> StreamEntry | None:
        if stream is not None and info.data.get("cache") is not None:
            raise ValueError("what lasts is not kept: a route has stream or cache")
        return stream

    @pydantic.field_validator("permission")
    @classmethod
    def _check_permission(cls, permission: str | None, info: pydantic.ValidationInfo) -> str | None:
        if permission is not None and PERMISSION.fullmatch(permission) is None:
            raise ValueError("must be resource:action, the action read, write or manage")
        if permission is not None and info.data.get("auth") == "none":
            raise ValueError('nobody is known, so nobody may hold it, with auth = "none"')
        return permission

    @pydantic.field_validator("limits")
    @classmethod
    def _check_limits(cls, limits: list[str]) -> list[str]:
        if len(set(limits)) < len(limits):
            raise ValueError("each class once")
        return limits


class Table(BaseModel):
    """All files as one: upstreams by name and the enabled routes."""

    upstreams: dict[str, UpstreamEntry]
    routes: list[RouteEntry]
