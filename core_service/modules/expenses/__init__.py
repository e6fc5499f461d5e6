"""Expenses: what a person spends, in categories of their own. Private to the user within the organization."""

from typing import Any
from uuid import UUID

import asyncpg
from aiohttp import web

from common.routes import add_routes
from core_service.modules.expenses import store
from core_service.modules.expenses.handlers import routes

NAME = "expenses"


def setup(app: web.Application) -> None:
    add_routes(app, routes)


async def export(connection: asyncpg.Connection, user_id: UUID) -> dict[str, Any]:
    """`{"categories": [...], "expenses": [...]}` over all organizations, each row with its `org_id`."""
    return await store.export_user(connection, user_id)


async def purge(connection: asyncpg.Connection, user_id: UUID) -> None:
    """Deletes the user's expenses and categories in every organization."""
    await store.delete_user(connection, user_id)
