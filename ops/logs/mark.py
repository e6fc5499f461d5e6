"""A place in a log to come back to, for what was written since; a rotation in between does not matter."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ops.logs import files


class Mark:
    """The end of the log as it is now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self._position = 0
        with suppress(OSError):
            found = path.stat()
            self._file, self._position = (found.st_dev, found.st_ino), found.st_size

    def lines(self) -> list[str]:
        """What was written since."""
        return [line for path, start in self._parts() for line in _from(path, start)]

    def _parts(self) -> Iterator[tuple[Path, int]]:
        """The marked file from the mark on, whatever it is called by now, and those that came after it."""
        newest_first = [
            self._path,
            *(path for path in reversed(files.older(self._path)) if not files.is_compressed(path)),
        ]
        parts: list[tuple[Path, int]] = []
        for path in newest_first:
            with suppress(OSError):
                found = path.stat()
                if (found.st_dev, found.st_ino) == self._file:
                    parts.append((path, self._position if self._position <= found.st_size else 0))
                    return reversed(parts)
                parts.append((path, 0))
        # It is nowhere any more (compressed, removed): what is being written now is new.
        return iter(parts[:1])


def _from(path: Path, start: int) -> list[str]:
    with suppress(FileNotFoundError), path.open("rb") as log:
        log.seek(start)
        return [line for line in log.read().decode(errors="replace").split("\n") if line]
    return []
