"""What happens to categories beyond one statement; opens the transactions."""

from typing import Any
from uuid import UUID

import asyncpg

from common.errors import Conflict
from common.postgres import Database
from common.validation import PageQuery, page
from core_service.modules.expenses import store
from core_service.modules.expenses.models import CategoryInput, Owner

_PROTECTED = "Default categories cannot be changed or deleted"


async def create_category(database: Database, owner: Owner, new: CategoryInput) -> dict[str, Any]:
    """The stored category. Raises Conflict for a name in use, a default one included, and for a default category."""
    if new.is_default:
        raise Conflict("Default categories cannot be created")
    async with database.transaction() as connection:
        await store.insert_defaults(connection, owner)
        return await store.insert_category(connection, owner, new)


async def list_categories(database: Database, owner: Owner, query: PageQuery) -> dict[str, Any]:
    """A page of the owner's categories. Who has none yet gets the defaults: they cannot be deleted, so that is once."""
    async with database.connection() as connection:
        items, total = await store.list_categories(connection, owner, query)
        if total == 0:
            await store.insert_defaults(connection, owner)
            items, total = await store.list_categories(connection, owner, query)
    return page(items, total, query)


async def replace_category(database: Database, owner: Owner, category_id: UUID, new: CategoryInput) -> dict[str, Any]:
    """The category as it is now. Raises NotFound, or Conflict for a default one and for a name in use."""
    async with database.connection() as connection:
        if new.is_default:
            await _refuse(connection, owner, category_id)
        changed = await store.update_category(connection, owner, category_id, new)
        return changed or await _refuse(connection, owner, category_id)


async def delete_category(database: Database, owner: Owner, category_id: UUID) -> None:
    """Raises NotFound, or Conflict for a default one and while expenses name it."""
    async with database.connection() as connection:
        if not await store.delete_category(connection, owner, category_id):
            await _refuse(connection, owner, category_id)


async def _refuse(connection: asyncpg.Connection, owner: Owner, category_id: UUID) -> dict[str, Any]:
    """Says why a category is not touched: it is not there, or it is a default one."""
    category = await store.get_category(connection, owner, category_id)
    raise Conflict(_PROTECTED if category["is_default"] else "A category cannot be made a default one")
