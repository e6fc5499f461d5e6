"""Modules plug themselves in: shipped ones by name, foreign ones by their dotted name."""

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from core_service import modules
from ops.migrate import migrate, shipped_locations
from tests.core_service.caller import Caller
from tests.core_service.conftest import Serve

INVOICES = """
from common.postgres import DATABASE
from common.routes import Access, Route, add_routes

NAME = "invoices"


async def count(request):
    async with request.app[DATABASE].connection() as connection:
        return {"count": await connection.fetchval("SELECT count(*) FROM core.invoices")}


def setup(app):
    add_routes(app, [Route(method="GET", path="/api/v1/invoices", handler=count, summary="Count",
                           permission="invoices:read")])


async def export(connection, user_id):
    return {}


async def purge(connection, user_id):
    await connection.execute("DELETE FROM core.invoices WHERE user_id = $1", user_id)
"""
MIGRATION = """
from alembic import op

revision = "invoices_0001"
down_revision = None
branch_labels = ("invoices",)
depends_on = None


def upgrade():
    op.execute("CREATE TABLE core.invoices (id uuid PRIMARY KEY, org_id uuid NOT NULL, user_id uuid NOT NULL)")


def downgrade():
    op.execute("DROP TABLE core.invoices")
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `acme_shop` of somebody else's on the import path, with one module in it."""
    folder = tmp_path / "acme_shop"
    (folder / "invoices" / "migrations").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "invoices" / "__init__.py").write_text(INVOICES)
    (folder / "invoices" / "migrations" / "invoices_0001.py").write_text(MIGRATION)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_shop"]:
        del sys.modules[name]


def test_shipped_modules_are_found_by_looking() -> None:
    assert "expenses" in modules.shipped()
    assert [module.NAME for module in modules.load(modules.shipped())] == modules.shipped()
    assert modules.faults(modules.shipped()) == []


async def test_foreign_module_serves_and_the_others_are_404(
    acme: Path, database_url: str, connection: asyncpg.Connection, serve: Serve
) -> None:
    named = ("acme_shop.invoices",)
    migrate(database_url, modules=named, locations=shipped_locations(named))
    client = await serve(DATABASE_URL=database_url, MODULES="acme_shop.invoices")
    me = Caller(client)
    assert await me.data("GET", "/invoices") == {"count": 0}
    await Caller(client, "user").refused(404, "GET", "/expenses")
    await me.refused(404, "POST", "/categories", json={"name": "x"})


async def test_disabled_module_is_404(serve: Serve, shared_database_url: str) -> None:
    me = Caller(await serve(DATABASE_URL=shared_database_url, MODULES="[]"))
    for path in ("/expenses", f"/expenses/{uuid4()}", "/categories"):
        await me.refused(404, "GET", path)


def test_disabled_modules_are_still_known(acme: Path) -> None:
    assert set(modules.everything(["acme_shop.invoices"])) == {*modules.shipped(), "acme_shop.invoices"}


def test_every_unusable_module_is_named_with_its_reason(acme: Path) -> None:
    for name, text in (
        ("empty", ""),
        ("crash", "1 / 0"),
        ("liar", INVOICES),
        ("expenses", INVOICES.replace("invoices", "expenses")),
    ):
        (acme / name).mkdir()
        (acme / name / "__init__.py").write_text(text)
    named = ["expenses", "nosuch", "acme_shop.nosuch", "acme_shop.empty", "acme_shop.crash", "acme_shop.liar",
             "acme_shop.expenses"]  # fmt: skip
    found = modules.faults(named)
    assert found == [
        f"MODULES: nosuch: unknown module; known are {', '.join(modules.shipped())}",
        "MODULES: acme_shop.nosuch: No module named 'acme_shop.nosuch'",
        "MODULES: acme_shop.empty: it has no NAME, setup, export, purge",
        "MODULES: acme_shop.crash: its import failed (ZeroDivisionError: division by zero)",
        "MODULES: acme_shop.liar: its NAME is 'invoices', not the package's own name",
        "MODULES: acme_shop.expenses and expenses are both named expenses",
    ]
