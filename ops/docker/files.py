"""Writes the small files that containers share through volumes."""

import os
from pathlib import Path


def write(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Whole or not at all: another container may be reading."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
