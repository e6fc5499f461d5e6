"""A stack's state directory beside a database with data in it: what there is to back up."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ops import secrets
from tests.conftest import made_database, on_database

EXPENSES = 25


@pytest.fixture(autouse=True)
def quick_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second each is for whoever guesses; the strong ones are shown in test_age.py and by the real command."""
    monkeypatch.setattr("ops.backup.age.WORK_FACTOR", 10)


@pytest.fixture
def placed(tmp_path: Path) -> dict[str, str]:
    """The settings of a stack with secrets, certificates, configuration and a log, whose database is away."""
    var = tmp_path / "var"
    secrets.ensure(var, {})
    for name, text in (("certs/live/api.pem", "certificate"), ("logs/edge.log", "line\n" * 50), ("logs/old/a.gz", "x")):
        (var / name).parent.mkdir(parents=True, exist_ok=True)
        (var / name).write_text(text)
    (tmp_path / "gatehouse.env").write_text("LOG_LEVEL=INFO\n")
    return {
        "GATEHOUSE_VAR": str(var),
        "GATEHOUSE_ENV_FILE": str(tmp_path / "gatehouse.env"),
        "DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1:9/none",
        "BACKUP_DIRECTORY": str(tmp_path / "backups"),
    }


@pytest.fixture(scope="module")
def filled_url(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """A database with data in it, for all tests of a file that only read it."""
    with made_database(postgres_dsn, template=template_database) as name:
        fill(on_database(postgres_dsn, name))
        yield on_database(postgres_dsn, name)


@pytest.fixture
def reading(placed: dict[str, str], filled_url: str) -> dict[str, str]:
    """The settings of a stack whose database is there to be read."""
    return placed | {"DATABASE_URL": filled_url}


@pytest.fixture
def environ(placed: dict[str, str], database_url: str) -> dict[str, str]:
    """The same with a database of its own, to be changed."""
    fill(database_url)
    return placed | {"DATABASE_URL": database_url}


@pytest.fixture
def directory(placed: dict[str, str]) -> Path:
    """Where its backups go."""
    return Path(placed["BACKUP_DIRECTORY"])


def fill(url: str) -> None:
    """Sign-ins of several months, in their partitions and outside of them."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO auth.login_events (id, at, result, address, agent) "
            "SELECT gen_random_uuid(), now() + n * interval '7 days', 'failed', '192.0.2.1', E'it''s \\\\ tab\\t' "
            "FROM generate_series(0, %s) AS n",
            (EXPENSES - 1,),
        )
