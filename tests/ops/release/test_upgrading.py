"""Upgrades of a stack that serves: no request is lost, and whatever fails leaves the old release running.

One stack for all of them, in the order of the file: real processes, a real database, a constant load. Every other
way in which an upgrade may end is in `test_ends.py`.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops.embedded import Postgres
from ops.release import Home, activate, install
from ops.stack import configuration
from ops.stack.database import running_url
from ops.stack.probe import fetch
from tests.ops.release.checkouts import borrow, checkout, doctor
from tests.ops.release.load import Call, Load
from tests.ops.stacks import Stack, until

ANOTHER_MIGRATION = """
from alembic import op

revision = "core_9001"
down_revision = "core_0001"


def upgrade() -> None:
    op.execute("{statement}")


def downgrade() -> None:
    op.execute("DROP TABLE core.of_the_new_release")
"""

_FAILING_BUILD = """async def build(_: object) -> None:
    raise RuntimeError("half done")


async def _("""

_UNREADY_CORE = """readiness = await request.app[HEALTH].readiness()
    if request.app[HEALTH].service == "core":
        readiness = Readiness("unavailable", {"moon": "unhealthy"})"""


class Host:
    """A home with releases, and a stack that runs from its `current`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.stack = Stack(folder / "var", LIMIT_GENERAL="1000000/60", LAME_DUCK_SECONDS="0.5")
        self.stack.command = (str(self.home.current / ".venv/bin/python"), "-P", "-m", "ops.cli")

    def source(self, version: str) -> Path:
        return checkout(self.folder / version, version=version)

    def upgrade(self, *words: str, ready_seconds: str = "10", **settings: str) -> tuple[int, dict[str, Any]]:
        """Exit status, and what it prints."""
        done = self.stack.gatehouse(
            "upgrade", *words, "--json", "--ready-seconds", ready_seconds, timeout=120, **settings
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def versions(self) -> set[str]:
        """What the services answer on their own ports."""
        urls = [f"http://127.0.0.1:{port}/health" for port in self.stack.ports.values()]
        return {fetch(url)[1].get("version", "none") for url in urls}

    def record(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.stack.var / "run" / "releases.json").read_text())
        return content

    def tables(self) -> set[str]:
        url = running_url(Postgres, configuration.read(self.stack.environ))
        assert url
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'core'").fetchall()
        return {name for (name,) in rows}

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Reads and writes all along; afterwards none may have failed."""
        category = self.stack.call("GET", "/api/v1/categories")["data"]["items"][0]["id"]
        expense = {"amount": "25.50", "date": "2025-11-21", "category_id": category}
        calls = [
            Call("GET", "/api/v1/expenses?per_page=1", 200),
            Call("POST", "/api/v1/expenses", 201, expense),
            Call("GET", "/api/v1/me", 200),
        ]
        with Load(self.stack.url, self.stack.credentials()["api_key"], calls) as load:
            yield load
        assert load.failures == []
        assert load.succeeded > 30


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o711)  # the embedded servers of root run as another user
    host = Host(folder)
    activate(install(checkout(folder / "0.2.0"), host.home, fill=borrow))
    host.stack.up()
    try:
        yield host
    finally:
        host.stack.kill_all()


def test_stack_runs_from_current(host: Host) -> None:
    assert host.versions() == {"0.2.0"}
    assert host.stack.gatehouse("status", "--json").returncode == 0


def test_release_that_does_not_boot_is_rolled_back(host: Host) -> None:
    source = host.source("0.2.4")
    doctor(source / "core_service/app.py", "async def build(", _FAILING_BUILD)
    install(source, host.home, fill=borrow)
    with host.load():
        status, outcome = host.upgrade(str(source))
    _expect_rolled_back(host, status, outcome, "half done")


def test_release_that_is_not_ready_is_rolled_back(host: Host) -> None:
    source = host.source("0.2.5")
    doctor(source / "common/health.py", "readiness = await request.app[HEALTH].readiness()", _UNREADY_CORE)
    install(source, host.home, fill=borrow)
    with host.load():
        status, outcome = host.upgrade(str(source), ready_seconds="3")
    _expect_rolled_back(host, status, outcome, "core is not ready (moon) after 3 s")


def _expect_rolled_back(host: Host, status: int, outcome: dict[str, Any], reason: str) -> None:
    assert (status, outcome["result"], outcome["running"]) == (1, "rolled back", "0.2.0"), outcome
    assert reason in outcome["reason"]
    assert "0.2.0 runs again and is healthy; the database keeps the newer schema" in outcome["reason"]
    assert host.versions() == {"0.2.0"}
    assert host.home.current.readlink() == Path("releases/0.2.0")
    assert host.record()["upgrades"][0] == outcome


def test_upgrade_loses_no_request(host: Host) -> None:
    source = host.source("0.3.0")
    _add_migration(source, "CREATE TABLE core.of_the_new_release (id int)")
    install(source, host.home, fill=borrow)
    with host.load():
        status, outcome = host.upgrade(str(source))
    assert (status, outcome["result"], outcome["running"], outcome["reason"]) == (0, "upgraded", "0.3.0", "")
    assert outcome["migrations"] == ["core_9001"]
    assert host.versions() == {"0.3.0"}
    assert "of_the_new_release" in host.tables()
    record = host.record()
    assert (record["current"], record["previous"], record["upgrades"][0]) == ("0.3.0", "0.2.0", outcome)


def test_service_that_died_comes_back_with_the_release_that_is_current(host: Host) -> None:
    """Its new parent too, though the controller is of the first release."""
    (pid,) = [entry["pid"] for entry in host.stack.status()["services"] if entry["name"] == "core"]
    subprocess.run(["kill", "-9", str(pid)], check=True)
    assert until(lambda: host.versions() == {"0.3.0"} and host.stack.status()["ready"], 20)


def test_rollback_goes_to_the_release_before_on_the_newer_schema(host: Host) -> None:
    with host.load():
        status, outcome = host.upgrade("--rollback")
    assert (status, outcome["result"], outcome["running"]) == (0, "rolled back", "0.2.0")
    assert host.versions() == {"0.2.0"}
    assert "of_the_new_release" in host.tables()
    again = host.stack.gatehouse("upgrade", "--rollback")
    assert again.returncode == 1
    assert again.stderr == f"error: there is no release before 0.2.0 in {host.home.releases}\n"


def _add_migration(source: Path, statement: str) -> None:
    path = source / "core_service/migrations/core_9001_another.py"
    path.write_text('"""Another."""\n' + ANOTHER_MIGRATION.format(statement=statement))
