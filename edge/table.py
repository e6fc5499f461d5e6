"""Reads `routes.toml` and its includes. A bad table is refused whole, every fault with its line."""

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from common.sentences import sentence
from edge.entries import NOT_SET, Entry, RouteEntry, Table, UpstreamEntry


class TableError(Exception):
    """The table cannot be used; str() names every fault, one a line, as `file:line: what`."""


Lookup = Callable[[str], str | None]
AnyEntry = TypeVar("AnyEntry", bound=Entry)


def read_table(path: Path, lookup: Lookup, also: Sequence[Path] = (), without: Path | None = None) -> Table:
    """The table at `path` with its includes but `without`, and the files in `also`; `env:NAME` is `lookup("NAME")`.

    Raises TableError naming every fault of every file.
    """
    faults: list[Fault] = []
    upstreams: dict[str, UpstreamEntry | None] = {}
    routes: list[tuple[RouteEntry, Where]] = []
    for file in _files(path, also, without, lookup, faults):
        for name, upstream in file.upstreams:
            if name in upstreams:
                faults.append((file.at("upstream", name), f"upstream {name!r} is defined twice"))
            upstreams[name] = upstream
        routes += [(route, partial(file.at, "route", index)) for index, route in file.routes]
    for route, where in routes:
        if route.upstream not in upstreams:
            faults.append((where(), f"route {route.path} names the unknown upstream {route.upstream!r}"))
    faults += _repeated(routes)
    if faults:
        raise TableError("\n".join(f"{file}:{line}: {what}" for (file, line), what in sorted(faults)))
    good = {name: upstream for name, upstream in upstreams.items() if upstream is not None}
    return Table(upstreams=good, routes=[route for route, _ in routes if route.enabled])


Place = tuple[Path, int]
Fault = tuple[Place, str]
# Looked for only where something is wrong: in a table of thousands each look would cost all of its lines.
Where = Callable[[], Place]


class _File:
    """One file's entries, each judged for itself, so that one fault hides no other."""

    def __init__(self, path: Path, lookup: Lookup, faults: list[Fault]) -> None:
        self._path = path
        self._lookup = lookup
        self._faults = faults
        self._lines: list[str] = []
        self.include: list[str] = []
        self.upstreams: list[tuple[str, UpstreamEntry | None]] = []
        self.routes: list[tuple[int, RouteEntry]] = []
        self._read()

    def at(self, *where: str | int) -> Place:
        return self._path, line_of(self._lines, where)

    def _read(self) -> None:
        try:
            text = self._path.read_text()
            self._lines = text.splitlines()
            content = tomllib.loads(text)
        except (OSError, UnicodeDecodeError) as error:
            self._faults.append(((self._path, 1), f"cannot be read ({type(error).__name__})"))
            return
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            self._faults.append(((self._path, int(line[1]) if line else len(self._lines)), f"no TOML: {error}"))
            return
        for key in content.keys() - {"include", "upstream", "route"}:
            self._faults.append((self.at(key), f"unknown field {key!r}"))
        self.include = self._list(content, "include", str)
        for name, raw in self._table(content, "upstream").items():
            self.upstreams.append((name, self._entry(UpstreamEntry, raw, "upstream", name)))
        for index, raw in enumerate(self._list(content, "route", dict)):
            if (route := self._entry(RouteEntry, raw, "route", index)) is not None:
                self.routes.append((index, route))

    def _list(self, content: dict[str, Any], key: str, kind: type) -> list[Any]:
        value = content.get(key, [])
        if isinstance(value, list) and all(isinstance(item, kind) for item in value):
            return value
        shape = f"[[{key}]] tables" if kind is dict else "a list of texts"
        self._faults.append((self.at(key), f"{key} must be {shape}"))
        return []

    def _table(self, content: dict[str, Any], key: str) -> dict[str, Any]:
        value = content.get(key, {})
        if isinstance(value, dict):
            return value
        self._faults.append((self.at(key), f"{key} must be [{key}.name] tables"))
        return {}

    def _entry(self, model: type[AnyEntry], raw: object, *where: str | int) -> AnyEntry | None:
        missing: list[tuple[tuple[str | int, ...], str]] = []
        values = _resolve(raw, self._lookup, where, missing)
        for place, name in missing:
            hint = "put it in .env or $GATEHOUSE_VAR/secrets/, which a running stack reads again"
            self._faults.append((self.at(*place), f"{name} is not set: {hint}"))
        try:
            return model.model_validate(values)
        except pydantic.ValidationError as error:
            for fault in error.errors(include_input=False):
                self._faults.append((self.at(*where, *fault["loc"]), _what(fault)))
            return None


def _files(
    path: Path, also: Sequence[Path], without: Path | None, lookup: Lookup, faults: list[Fault]
) -> Iterator[_File]:
    file = _File(path, lookup, faults)
    yield file
    for pattern in file.include:
        for included in sorted(glob(pattern, root_dir=path.parent)):  # noqa: PTH207 - takes absolute patterns too
            if path.parent / included != without:
                yield _File(path.parent / included, lookup, faults)
    for other in also:
        yield _File(other, lookup, faults)


def include_patterns(path: Path) -> list[str]:
    """What the table at `path` includes; nothing while it cannot be read."""
    return _File(path, lambda _name: None, []).include


def _resolve(value: Any, lookup: Lookup, where: tuple[str | int, ...], missing: list[Any]) -> Any:
    if isinstance(value, dict):
        return {
            _resolve(key, lookup, (*where, key), missing): _resolve(inner, lookup, (*where, key), missing)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_resolve(inner, lookup, (*where, index), missing) for index, inner in enumerate(value)]
    if isinstance(value, str) and value.startswith("env:"):
        name = value.removeprefix("env:")
        found = lookup(name)
        if not found:
            missing.append((where, name))
        return found or NOT_SET
    return value


def _repeated(routes: list[tuple[RouteEntry, Where]]) -> Iterator[Fault]:
    seen: dict[tuple[str, str, str], Where] = {}
    for route, where in routes:
        for host in route.hosts or ["*"]:
            for method in (*route.methods,) or ("*",):
                key = (route.path.rstrip("/"), host.lower(), method)
                if route.enabled and key in seen:
                    file, line = seen[key]()
                    yield where(), f"route {route.path} repeats the one at {file}:{line}"
                seen.setdefault(key, where)


def _what(fault: Any) -> str:
    field = ".".join(str(part) for part in fault["loc"] if isinstance(part, str))
    if fault["type"] == "extra_forbidden":
        return f"unknown field {field!r}"
    said = sentence(fault, field or "it")
    return said if said.startswith(field) else f"{field}: {said}"


def line_of(lines: list[str], where: tuple[str | int, ...]) -> int:
    """The line, from 1, of a key such as `("route", 2, "auth")`, or of its table where the key has none.

    The parser of the standard library keeps no positions.
    """
    start = _header(lines, where)
    for key in reversed([part for part in where[2:] if isinstance(part, str)]):
        for number in range(start, len(lines)):
            if number > start and lines[number].lstrip().startswith("["):
                break
            if re.match(rf"\s*\"?{re.escape(key)}\"?\s*[=.]", lines[number]):
                return number + 1
    return start + 1


def _header(lines: list[str], where: tuple[str | int, ...]) -> int:
    if len(where) < 2:
        return _find(lines, rf"\s*\[*\s*{re.escape(str(where[0]))}\b", 0)
    if where[0] == "route":
        return _find(lines, r"\s*\[\[\s*route\s*\]\]", int(where[1]))
    kind, name = (re.escape(str(part)) for part in where[:2])
    return _find(lines, rf"\s*\[\s*{kind}\s*\.\s*\"?{name}\"?\s*[\].]", 0)


def _find(lines: list[str], pattern: str, occurrence: int) -> int:
    found = [number for number, line in enumerate(lines) if re.match(pattern, line)]
    return found[occurrence] if occurrence < len(found) else 0
