"""Files of one route each in the table's own folder: put there whole and judged before, or not at all."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import edge
from common import json
from common.settings import SettingsError, variable
from edge.entries import NOT_SET, Table
from edge.table import TableError, include_patterns, read_table
from ops.stack.errors import StackError

UNKNOWN = NOT_SET  # what `env:NAME` leads to where this process cannot know it
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Routes:
    """The table that EDGE_ROUTES names, and the folder of its first include that takes any file."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Raises StackError when the table includes no folder."""
        self._environ = environ
        try:
            given = variable("EDGE_ROUTES", environ)
        except SettingsError as error:
            raise StackError(str(error)) from None
        self.table_file = Path(given).absolute() if given else Path(edge.__file__).with_name("routes.toml")
        found = [pattern for pattern in include_patterns(self.table_file) if Path(pattern).name == "*.toml"]
        if not found:
            raise StackError(f'{self.table_file} includes no folder: add include = ["routes.d/*.toml"] to it')
        self.folder = (self.table_file.parent / found[0]).parent

    def read(self) -> Table:
        """Raises StackError naming every fault."""
        return self._judged()

    def add(self, name: str, entry: Mapping[str, Any], servers: Sequence[str], *, replaces: bool = False) -> Path:
        """The file made. Raises StackError when the table would be faulty with it, or cannot be written."""
        file = self._file(name)
        if file.exists() and not replaces:
            raise StackError(f"{file} is there: `gatehouse route remove {name}` removes it, --replace replaces it")
        new = file.with_name(f".{file.name}.new")  # no include takes it
        try:
            self.folder.mkdir(exist_ok=True)
            new.write_text(text(name, entry, servers))
            self._judged(also=[new], without=file)
            new.replace(file)
        except OSError as error:
            raise StackError(f"{file} cannot be written: {error.strerror}") from None
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)
        return file

    def remove(self, name: str) -> Path:
        """The file removed. Raises StackError when there is none, or the rest needs it."""
        file = self._file(name)
        if not file.exists():
            known = ", ".join(sorted(path.stem for path in self.folder.glob("*.toml"))) or "none"
            raise StackError(f"no route is named {name} in {self.folder}; there are: {known}")
        self._judged(without=file)
        try:
            file.unlink()
        except OSError as error:
            raise StackError(f"{file} cannot be removed: {error.strerror}") from None
        return file

    def _file(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None:
            raise StackError(f"{name!r} is no name for a route: lower-case letters, digits, - and _, as in reports")
        return self.folder / f"{name}.toml"

    def _judged(self, also: Sequence[Path] = (), without: Path | None = None) -> Table:
        try:
            return read_table(self.table_file, self._lookup, also, without)
        except TableError as error:
            said = str(error)
            for new in also:
                said = said.replace(str(new), str(without))
            raise StackError(said) from None

    def _lookup(self, name: str) -> str:
        # Whether it is set is for the edge to say, which may be told other settings than this process.
        try:
            return variable(name, self._environ) or UNKNOWN
        except SettingsError:
            return UNKNOWN


def text(name: str, entry: Mapping[str, Any], servers: Sequence[str]) -> str:
    """The file's text: JSON's texts, lists, numbers and truth values are TOML's too."""
    lines = [f"[upstream.{name}]", f"servers = {_value(servers)}", "", "[[route]]"]
    lines += [f"{key} = {_value(value)}" for key, value in {**entry, "upstream": name}.items()]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    return json.dumps(value).decode()
