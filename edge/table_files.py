"""The route table and the tiers' limits as they lie on the disk: read whole, seen to change, kept as last in force."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from glob import glob
from pathlib import Path
from typing import NamedTuple

import pydantic
import structlog

from common import settings
from edge.entries import Table
from edge.route_limits import LimitTable
from edge.settings import EdgeSettings
from edge.table import TableError, include_patterns, read_table
from edge.tiers import read_tiers

log = structlog.get_logger()
Facts = tuple[int, int, int] | None  # modification time in nanoseconds, size, inode; None for what is not there


class Stamp(NamedTuple):
    """Of each file of the table by its path, and of where variables are kept."""

    tables: tuple[tuple[str, Facts], ...]
    variables: tuple[Facts, ...]


class TableFiles:
    """`environ` is where `env:NAME` is looked up; the process's own when None."""

    def __init__(self, loaded: EdgeSettings, environ: Mapping[str, str] | None = None) -> None:
        self._loaded = loaded
        self._path = loaded.edge_routes
        self._kept = loaded.gatehouse_var / "run" / "edge-table.json"
        self._kept_limits = self._kept.with_name("edge-limits.toml")
        self._defaults = loaded.upstream_variables()
        self._environ = environ
        self.is_kept = False  # whether `read_or_kept` had to go back
        self._env_file = Path((os.environ if environ is None else environ).get("GATEHOUSE_ENV_FILE") or ".env")
        self._root: Facts = None
        self._patterns: list[str] = []

    def read(self) -> tuple[Table, LimitTable]:
        """Raises TableError naming every fault."""
        faults = []
        try:
            table = self._read_table()
        except TableError as error:
            faults.append(str(error))
        try:
            limits = self._read_limits(self._loaded.edge_limits)
        except TableError as error:
            faults.append(str(error))
        if faults:
            raise TableError("\n".join(faults))
        return table, limits

    def read_or_kept(self) -> tuple[Table, LimitTable]:
        """What the files say, or what was last in force where they are faulty by now.

        They are checked before workers are started. One that replaces a dead worker later must not stay away because
        somebody is in the middle of editing a file. Raises TableError when nothing is kept.
        """
        try:
            return self.read()
        except TableError as error:
            try:
                kept = Table.model_validate_json(self._kept.read_bytes()), self._read_limits(self._kept_limits)
            except (OSError, pydantic.ValidationError, TableError):
                raise error from None
            self.is_kept = True
            log.warning("table_refused", faults=str(error).splitlines(), in_force="the one before")
            return kept

    def keep(self, table: Table) -> None:
        """`table` is in force now, and the limits beside it. It holds secrets, so nobody else may read it."""
        try:
            self._kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._kept, table.model_dump_json(exclude_unset=True))
            _write(self._kept_limits, self._loaded.edge_limits.read_text())
        except OSError as error:
            log.warning("table_not_kept", reason=str(error))

    def stamp(self) -> Stamp:
        """Equal to the one before as long as no file was changed, added or removed."""
        root = _facts(self._path)
        if root != self._root:
            self._root, self._patterns = root, include_patterns(self._path)
        kept = (self._env_file, self._loaded.gatehouse_var / "secrets")
        return Stamp(tuple((str(file), _facts(file)) for file in self._files()), tuple(_facts(place) for place in kept))

    def _read_limits(self, file: Path) -> LimitTable:
        return LimitTable(self._loaded.limits, read_tiers(file, self._loaded.limits), self._loaded.limit_shadow)

    def _read_table(self) -> Table:
        return read_table(self._path, self._lookup, self._loaded.tables_beside)

    def _files(self) -> Iterator[Path]:
        yield from (self._path, self._loaded.edge_limits, *self._loaded.tables_beside)
        for pattern in self._patterns:
            yield from (self._path.parent / name for name in glob(pattern, root_dir=self._path.parent))  # noqa: PTH207

    def _lookup(self, name: str) -> str | None:
        return settings.variable(name, self._environ) or self._defaults.get(name)


def _write(file: Path, text: str) -> None:
    """In one step, for its owner alone."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    with os.fdopen(descriptor, "w") as new:
        new.write(text)
    Path(name).replace(file)


def _facts(file: Path) -> Facts:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
