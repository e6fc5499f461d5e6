"""Weights of servers: what the route table says, what was changed since, and changing it (docs/routes.md)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pydantic

from common import settings
from common.settings import SettingsError
from edge.entries import WEIGHT_MAX, Table, UpstreamEntry
from edge.settings import EdgeSettings
from edge.table import TableError, read_table
from edge.upstream.weights import LOOK_SECONDS, read_weights, weights_file, write_weights
from ops.owner import as_owner
from ops.stack.errors import StackError
from ops.stack.place import Place

_SETTINGS = ("EDGE_ROUTES", "AUTH_URL", "AUTH_PORT", "CORE_URL", "CORE_PORT")


@dataclass(frozen=True)
class Listed:
    """`share` is its part of the upstream's new requests, from 0 to 1, while all its servers are well."""

    upstream: str
    server: str
    weight: int
    share: float
    table_weight: int


def current(place: Place, upstream: str | None = None) -> list[Listed]:
    """All servers of all upstreams, or of one. Raises StackError."""
    upstreams = _table().upstreams
    if upstream is not None:
        upstreams = {upstream: _entry(upstreams, upstream)}
    changed = _changed(place)
    return [one for name, entry in upstreams.items() for one in _listed(name, entry, changed.get(name, {}))]


def change(place: Place, upstream: str, wanted: Mapping[str, int]) -> list[Listed]:
    """Sets weights by server; with none, the table's hold again. Returns when all workers have had time to look.

    Raises StackError.
    """
    upstreams = _table().upstreams
    entry = _entry(upstreams, upstream)
    before = _changed(place)
    after = {server: weight for server, weight in before.get(upstream, {}).items() if server in entry.servers}
    after = {**after, **wanted} if wanted else {}
    _require_sound(upstream, entry, after)
    known = {name: weights for name, weights in before.items() if name in upstreams and name != upstream}
    _write(place, {**known, upstream: after} if after else known)
    time.sleep(LOOK_SECONDS * 1.5)
    return _listed(upstream, entry, after)


def _require_sound(upstream: str, entry: UpstreamEntry, weights: Mapping[str, int]) -> None:
    for server, weight in weights.items():
        if server not in entry.servers:
            raise StackError(f"{server} is no server of {upstream}; there are {', '.join(entry.servers)}")
        if weight > WEIGHT_MAX:
            raise StackError(f"{weight} is too much: weights go from 0 to {WEIGHT_MAX}")
    if not any(one.weight for one in _listed(upstream, entry, weights)):
        raise StackError(f"at least one server of {upstream} must keep a weight above 0")


def _listed(name: str, entry: UpstreamEntry, changed: Mapping[str, int]) -> list[Listed]:
    own = {server: entry.weight.get(server, 1) for server in entry.servers}
    weights = {server: changed.get(server, weight) for server, weight in own.items()}
    total = sum(weights.values()) or 1
    return [Listed(name, server, weight, weight / total, own[server]) for server, weight in weights.items()]


def _entry(upstreams: Mapping[str, UpstreamEntry], name: str) -> UpstreamEntry:
    if name not in upstreams:
        raise StackError(f"{name} is no upstream; the route table has {', '.join(sorted(upstreams))}")
    return upstreams[name]


def _table() -> Table:
    """The route table as the edge reads it, but for keys: weights need none, and not everybody may know them."""
    try:
        found = {name: value for name in _SETTINGS if (value := settings.variable(name))}
        edge = EdgeSettings.model_validate(found)
        known = {name: value or "not needed" for name, value in edge.upstream_variables().items()}
        return read_table(edge.edge_routes, lambda name: settings.variable(name) or known.get(name))
    except pydantic.ValidationError as error:
        raise StackError("\n".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())) from None
    except (SettingsError, TableError) as error:
        raise StackError(str(error)) from None


def _changed(place: Place) -> dict[str, dict[str, int]]:
    file = weights_file(place.var)
    try:
        return read_weights(file)
    except (OSError, ValueError) as error:
        raise StackError(f"{file} cannot be read: {error}; without it the weights of the route table hold") from None


def _write(place: Place, weights: Mapping[str, Mapping[str, int]]) -> None:
    file = weights_file(place.var)
    try:
        with as_owner(place.var):
            file.parent.mkdir(mode=0o700, exist_ok=True)
            write_weights(file, weights)
    except OSError as error:
        raise StackError(f"{file} cannot be written: {error.strerror}") from None
