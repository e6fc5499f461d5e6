"""What an archive says about itself: its last member, `manifest.json`."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ops.backup.errors import BackupFailed

NAME = "manifest.json"
FORMAT = 1
PARTS = ("database", "configuration", "certificates", "secrets", "logs")


@dataclass(frozen=True)
class Member:
    """One file of the archive; `size` in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Database:
    """The dump, and what the database looked like in the very snapshot that the dump was made of.

    server, tool   major versions of the server and of pg_dump
    owner, roles   who owned the schemas, and whom else its rights name
    extensions     [name, schema] of those installed
    heads          the migrations applied last, one a branch
    rows           "schema.table" → rows
    """

    server: int
    tool: int
    owner: str
    roles: list[str]
    extensions: list[list[str]]
    heads: list[str]
    rows: dict[str, int]


@dataclass(frozen=True)
class Manifest:
    """`made_at` is the time at which the backup began, ISO 8601 in UTC; `version` is Gatehouse's."""

    version: str
    made_at: str
    host: str
    parts: list[str]
    members: list[Member]
    database: Database | None = None
    format: int = FORMAT
    notes: dict[str, Any] = field(default_factory=dict)

    def dumped(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


def loaded(content: bytes) -> Manifest:
    """Raises BackupFailed for one that this version cannot read."""
    try:
        values = json.loads(content)
        if values["format"] > FORMAT:
            raise BackupFailed(f"the archive was made by Gatehouse {values['version']}, which is newer: upgrade first")
        database = values.pop("database")
        members = [Member(**member) for member in values.pop("members")]
        return Manifest(**values, members=members, database=Database(**database) if database else None)
    except (ValueError, KeyError, TypeError) as error:
        raise BackupFailed(f"the archive's manifest cannot be read: {error}") from None
