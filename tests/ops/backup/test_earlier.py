"""An archive of the data of an earlier version restores into the release of today, and is migrated there."""

import json
from pathlib import Path

import psycopg
import pytest

from ops import backup
from ops.backup import planning, restoring
from ops.migrate import migrate
from tests.architecture.sources import ROOT

Environ = dict[str, str]
_HEADS = "SELECT array_agg(version_num ORDER BY version_num) FROM gatehouse.alembic_version"
_USERS = "SELECT count(*) FROM auth.users"
VERSIONS = sorted(path.parent for path in (ROOT / "tests" / "upgrade").glob("*/database.sql"))


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)
def test_data_of_an_earlier_version_is_restored_and_migrated(
    placed: Environ, database_url: str, empty_database_url: str, folder: Path
) -> None:
    """`database_url` is what a release of today has: newer tables, which the archive does not know."""
    with psycopg.connect(database_url) as connection:
        newest = connection.execute(_HEADS).fetchone()
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute((folder / "database.sql").read_text().encode())
        users = connection.execute(_USERS).fetchone()
    secrets = json.loads((folder / "secrets.json").read_text())
    made = backup.create(environ=placed | secrets | {"DATABASE_URL": empty_database_url})
    dumped = backup.verify(made.path, None).database
    assert dumped
    target = placed | {"DATABASE_URL": database_url, "GATEHOUSE_VAR": f"{placed['GATEHOUSE_VAR']}-new"}
    restoring.restore(planning.plan(made.path, environ=target), starts=False)
    with psycopg.connect(database_url) as connection:
        assert connection.execute(_HEADS).fetchone() == (dumped.heads,)
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        assert connection.execute(_USERS).fetchone() == users != (0,)
        assert connection.execute(_HEADS).fetchone() == newest
    kept = Path(target["GATEHOUSE_VAR"]) / "secrets" / "SECRET_KEY"
    assert kept.read_text().strip() == secrets["SECRET_KEY"]
