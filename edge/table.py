"""Reads `routes.toml` and its includes into plain values. A bad table is refused whole, every fault with its line."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from common.http1.pool import parse_address

_UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class TableError(Exception):
    """The table cannot be used; str() names every fault, one a line, as `file:line: what`."""


def _size(value: object) -> object:
    """`"1MiB"` or a number of bytes."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+)\s*(B|KiB|MiB|GiB|)", value)
    if match is None:
        raise ValueError('must be a size like "1MiB", "64KiB" or a number of bytes')
    return int(match[1]) * _UNITS[match[2]]


Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeoutsEntry(_Entry):
    """Seconds: to connect, to the first byte of the answer, between two reads or writes."""

    connect: float = Field(5, gt=0, le=3600)
    first_byte: float = Field(60, gt=0, le=3600)
    idle: float = Field(60, gt=0, le=3600)


class UpstreamEntry(_Entry):
    servers: list[str] = Field(min_length=1)
    service_key: str | None = None
    connections_max: int = Field(1024, ge=1, le=65535)

    @pydantic.field_validator("servers")
    @classmethod
    def _check_servers(cls, servers: list[str]) -> list[str]:
        for server in servers:
            parse_address(server)
        return [server.rstrip("/") for server in servers]


class RouteEntry(_Entry):
    path: str = Field(pattern=r"^/[^?#\s\\]*$")
    upstream: str
    auth: Literal["required", "optional", "none"] = "required"
    limits: list[Literal["general", "auth", "search", "email", "ai"]] = ["general"]
    hosts: list[str] = []
    methods: list[Annotated[str, Field(pattern=r"^[A-Z]+$")]] = []
    permission: str | None = Field(None, pattern=r"^[a-z][a-z0-9_-]*:(read|write|manage)$")
    strip_prefix: bool = False
    body_max: Size | None = None
    timeout: TimeoutsEntry = TimeoutsEntry()
    errors: Literal["envelope", "openai"] = "envelope"
    pass_authorization: bool = False
    enabled: bool = True

    @pydantic.field_validator("limits")
    @classmethod
    def _check_limits(cls, limits: list[str]) -> list[str]:
        if len(set(limits)) < len(limits):
            raise ValueError("each class once")
        return limits


class _File(_Entry):
    include: list[str] = []
    upstream: dict[str, UpstreamEntry] = {}
    route: list[RouteEntry] = []


class Table(BaseModel):
    """All files as one: upstreams by name and the enabled routes."""

    upstreams: dict[str, UpstreamEntry]
    routes: list[RouteEntry]


Lookup = Callable[[str], str | None]


def read_table(path: Path, lookup: Lookup) -> Table:
    """The table at `path` with its includes; `env:NAME` becomes `lookup("NAME")`.

    Raises TableError naming every fault of every file.
    """
    faults: list[str] = []
    upstreams: dict[str, UpstreamEntry] = {}
    routes: list[tuple[RouteEntry, str]] = []
    for file, content in _files(path, lookup, faults):
        lines = _Lines(file)
        for name, upstream in content.upstream.items():
            if name in upstreams:
                faults.append(f"{lines.at(('upstream', name))}: upstream {name!r} is defined twice")
            upstreams[name] = upstream
        routes += [(route, lines.at(("route", index))) for index, route in enumerate(content.route)]
    for route, where in routes:
        if route.upstream not in upstreams:
            faults.append(f"{where}: route {route.path} names the unknown upstream {route.upstream!r}")
    faults += _repeated(routes)
    if faults:
        raise TableError("\n".join(faults))
    return Table(upstreams=upstreams, routes=[route for route, _ in routes if route.enabled])


def _files(path: Path, lookup: Lookup, faults: list[str]) -> Iterator[tuple[Path, _File]]:
    content = _read(path, lookup, faults)
    if content is None:
        return
    yield path, content
    for pattern in content.include:
        for included in sorted(path.parent.glob(pattern)):
            inner = _read(included, lookup, faults)
            if inner is not None:
                yield included, inner


def _read(path: Path, lookup: Lookup, faults: list[str]) -> _File | None:
    try:
        raw = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        faults.append(f"{path}: {error}")
        return None
    missing: list[tuple[tuple[str | int, ...], str]] = []
    values = _resolve(raw, lookup, (), missing)
    lines = _Lines(path)
    faults += [f"{lines.at(where)}: {name} is not set in the environment" for where, name in missing]
    try:
        return _File.model_validate(values)
    except pydantic.ValidationError as error:
        faults += [f"{lines.at(fault['loc'])}: {_sentence(fault)}" for fault in error.errors()]
        return None


def _resolve(value: Any, lookup: Lookup, where: tuple[str | int, ...], missing: list[Any]) -> Any:
    if isinstance(value, dict):
        return {key: _resolve(inner, lookup, (*where, key), missing) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, lookup, (*where, index), missing) for index, inner in enumerate(value)]
    if isinstance(value, str) and value.startswith("env:"):
        name = value.removeprefix("env:")
        found = lookup(name)
        if not found:
            missing.append((where, name))
        return found or "http://not.set"
    return value


def _repeated(routes: list[tuple[RouteEntry, str]]) -> Iterator[str]:
    seen: dict[tuple[str, str, str], str] = {}
    for route, where in routes:
        for host in route.hosts or ["*"]:
            for method in route.methods or ["*"]:
                key = (route.path.rstrip("/"), host.lower(), method)
                if route.enabled and key in seen:
                    yield f"{where}: route {route.path} repeats the one at {seen[key]}"
                seen.setdefault(key, where)


def _sentence(fault: Any) -> str:
    field = ".".join(str(part) for part in fault["loc"] if isinstance(part, str) and part not in ("route", "upstream"))
    if fault["type"] == "extra_forbidden":
        return f"unknown field {field!r}"
    message = "is required" if fault["type"] == "missing" else fault["msg"].removeprefix("Value error, ")
    return f"{field}: {message}"


class _Lines:
    """Where things stand in a TOML file; the parser of the standard library keeps no positions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = path.read_text().splitlines()

    def at(self, where: tuple[str | int, ...]) -> str:
        """`file:line` of a key such as `("route", 2, "auth")`, or of its table where the key has no line."""
        start = self._header(where)
        for key in reversed([part for part in where[2:] if isinstance(part, str)]):
            for number in range(start, len(self._lines)):
                line = self._lines[number]
                if number > start and line.lstrip().startswith("["):
                    break
                if re.match(rf"\s*\"?{re.escape(key)}\"?\s*[=.]", line):
                    return f"{self._path}:{number + 1}"
        return f"{self._path}:{start + 1}"

    def _header(self, where: tuple[str | int, ...]) -> int:
        if len(where) < 2:
            return self._find(rf"\s*{re.escape(str(where[0]))}\b", 0) if where else 0
        if where[0] == "route":
            return self._find(r"\s*\[\[\s*route\s*\]\]", int(where[1]))
        return self._find(rf"\s*\[\s*upstream\s*\.\s*\"?{re.escape(str(where[1]))}\"?\s*[\].]", 0)

    def _find(self, pattern: str, occurrence: int) -> int:
        found = [number for number, line in enumerate(self._lines) if re.match(pattern, line)]
        return found[occurrence] if occurrence < len(found) else 0
