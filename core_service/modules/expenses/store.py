# ruff: noqa: S608 - statements are put together from constants of this file; values are always parameters
"""Categories and expenses in PostgreSQL.

Every query is scoped by owner ($1 the user, $2 the organization). Rows come back as plain dictionaries ready for JSON:
identifiers and amounts are made text by the database ("25.50"), because orjson writes that without a detour.
"""

from typing import Any
from uuid import UUID

import asyncpg

from common.errors import ApiError, Conflict, NotFound
from common.ids import uuid7
from common.validation import PageQuery
from core_service.modules.expenses.models import (
    DEFAULT_CATEGORIES,
    DEFAULT_COLOR,
    CategoryInput,
    ExpenseInput,
    ExpenseQuery,
    Owner,
    name_key,
)

Row = dict[str, Any]

_CATEGORY = "id::text, name, description, color, icon, is_default, created_at, updated_at"
_EXPENSE = (
    "id::text, amount::text, currency, date, category_id::text, description, payment_method, tags, notes,"
    " created_at, updated_at"
)

# Two first requests at once: the second waits for the first on the unique name, then finds nothing to add.
INSERT_DEFAULTS = """
    INSERT INTO core.categories (user_id, org_id, id, name, name_key, color, is_default)
    SELECT $1, $2, given.id, given.name, given.name_key, $6, true
    FROM unnest($3::uuid[], $4::text[], $5::text[]) AS given (id, name, name_key)
    ON CONFLICT ON CONSTRAINT categories_name_unique DO NOTHING
"""

INSERT_CATEGORY = f"""
    INSERT INTO core.categories (user_id, org_id, id, name, name_key, description, color, icon)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    RETURNING {_CATEGORY}
"""

SELECT_CATEGORY = f"SELECT {_CATEGORY} FROM core.categories WHERE user_id = $1 AND org_id = $2 AND id = $3"

UPDATE_CATEGORY = f"""
    UPDATE core.categories
    SET name = $4, name_key = $5, description = $6, color = $7, icon = $8, updated_at = now()
    WHERE user_id = $1 AND org_id = $2 AND id = $3 AND NOT is_default
    RETURNING {_CATEGORY}
"""

DELETE_CATEGORY = """
    DELETE FROM core.categories
    WHERE user_id = $1 AND org_id = $2 AND id = $3 AND NOT is_default
    RETURNING id
"""

INSERT_EXPENSE = f"""
    INSERT INTO core.expenses
        (user_id, org_id, id, amount, date, category_id, description, payment_method, tags, notes, currency)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    RETURNING {_EXPENSE}
"""

SELECT_EXPENSE = f"SELECT {_EXPENSE} FROM core.expenses WHERE user_id = $1 AND org_id = $2 AND id = $3"

UPDATE_EXPENSE = f"""
    UPDATE core.expenses
    SET amount = $4, date = $5, category_id = $6, description = $7, payment_method = $8, tags = $9, notes = $10,
        currency = $11, updated_at = now()
    WHERE user_id = $1 AND org_id = $2 AND id = $3
    RETURNING {_EXPENSE}
"""

DELETE_EXPENSE = "DELETE FROM core.expenses WHERE user_id = $1 AND org_id = $2 AND id = $3 RETURNING id"

EXPORT_CATEGORIES = f"SELECT org_id::text, {_CATEGORY} FROM core.categories WHERE user_id = $1 ORDER BY categories.id"
EXPORT_EXPENSES = f"SELECT org_id::text, {_EXPENSE} FROM core.expenses WHERE user_id = $1 ORDER BY expenses.id"

# Total and one page in one round trip; the join keeps the total when the page is empty. `listed` names the table inside
# and the page outside, so that one ORDER BY serves both: inside by index, outside because a join promises no order.
_PAGE = """
    SELECT counted.total, listed.*
    FROM (SELECT count(*) AS total FROM {table} WHERE {where}) AS counted
    LEFT JOIN (
        SELECT {columns} FROM {table} AS listed WHERE {where} ORDER BY {order} LIMIT $3 OFFSET $4
    ) AS listed ON true
    ORDER BY {order}
"""

# The defaults in their own order, then the person's own, oldest first.
LIST_CATEGORIES = _PAGE.format(
    table="core.categories",
    columns=_CATEGORY,
    where="user_id = $1 AND org_id = $2",
    order="listed.is_default DESC, listed.created_at, listed.id",
)

_EXPENSE_ORDER = "listed.date DESC, listed.created_at DESC, listed.id DESC"
_CONDITIONS = {
    "start_date": "date >= {}",
    "end_date": "date <= {}",
    "category_id": "category_id = {}",
    "min_amount": "amount >= {}",
    "max_amount": "amount <= {}",
    "payment_method": "payment_method = {}",
    "tags": "tags @> {}",
}


def list_expenses_query(query: ExpenseQuery) -> tuple[str, list[Any]]:
    """The statement for the given filters, and their values. A combination has one text, so it stays prepared."""
    values = {name: value for name in _CONDITIONS if (value := getattr(query, name)) not in (None, [])}
    where = ["user_id = $1 AND org_id = $2"]
    where += [_CONDITIONS[name].format(f"${number}") for number, name in enumerate(values, start=5)]
    text = _PAGE.format(table="core.expenses", columns=_EXPENSE, where=" AND ".join(where), order=_EXPENSE_ORDER)
    return text, list(values.values())


async def insert_defaults(connection: asyncpg.Connection, owner: Owner) -> None:
    """Gives the owner the default categories; those that exist stay as they are."""
    ids = sorted(uuid7() for _ in DEFAULT_CATEGORIES)
    keys = [name_key(name) for name in DEFAULT_CATEGORIES]
    await connection.execute(INSERT_DEFAULTS, *owner, ids, DEFAULT_CATEGORIES, keys, DEFAULT_COLOR)


async def insert_category(connection: asyncpg.Connection, owner: Owner, new: CategoryInput) -> Row:
    """The stored category. Raises Conflict when the owner has one of this name."""
    try:
        row = await connection.fetchrow(INSERT_CATEGORY, *owner, uuid7(), *_category_values(new))
    except asyncpg.UniqueViolationError as error:
        raise _meaning(error, categories_name_unique=Conflict("A category of this name already exists")) from None
    return dict(row)


async def list_categories(connection: asyncpg.Connection, owner: Owner, query: PageQuery) -> tuple[list[Row], int]:
    return _page(await connection.fetch(LIST_CATEGORIES, *owner, query.per_page, query.offset))


async def get_category(connection: asyncpg.Connection, owner: Owner, category_id: UUID) -> Row:
    return _found(await connection.fetchrow(SELECT_CATEGORY, *owner, category_id), "Category")


async def update_category(
    connection: asyncpg.Connection, owner: Owner, category_id: UUID, new: CategoryInput
) -> Row | None:
    """The category as it is now; None when the owner has none of this id that may change. Raises Conflict."""
    try:
        row = await connection.fetchrow(UPDATE_CATEGORY, *owner, category_id, *_category_values(new))
    except asyncpg.UniqueViolationError as error:
        raise _meaning(error, categories_name_unique=Conflict("A category of this name already exists")) from None
    return dict(row) if row else None


async def delete_category(connection: asyncpg.Connection, owner: Owner, category_id: UUID) -> bool:
    """False when the owner has none of this id that may go. Raises Conflict while expenses name it."""
    try:
        return await connection.fetchval(DELETE_CATEGORY, *owner, category_id) is not None
    except asyncpg.ForeignKeyViolationError as error:
        in_use = Conflict("Category is in use: move or delete its expenses first")
        raise _meaning(error, expenses_category_owned=in_use) from None


async def insert_expense(connection: asyncpg.Connection, owner: Owner, new: ExpenseInput) -> Row:
    """The stored expense. Raises NotFound when the category is not the owner's."""
    try:
        row = await connection.fetchrow(INSERT_EXPENSE, *owner, uuid7(), *_expense_values(new))
    except asyncpg.ForeignKeyViolationError as error:
        raise _meaning(error, expenses_category_owned=NotFound("Category not found")) from None
    return dict(row)


async def list_expenses(connection: asyncpg.Connection, owner: Owner, query: ExpenseQuery) -> tuple[list[Row], int]:
    text, values = list_expenses_query(query)
    return _page(await connection.fetch(text, *owner, query.per_page, query.offset, *values))


async def get_expense(connection: asyncpg.Connection, owner: Owner, expense_id: UUID) -> Row:
    return _found(await connection.fetchrow(SELECT_EXPENSE, *owner, expense_id), "Expense")


async def update_expense(connection: asyncpg.Connection, owner: Owner, expense_id: UUID, new: ExpenseInput) -> Row:
    """The expense as it is now. Raises NotFound for it or for its category."""
    try:
        row = await connection.fetchrow(UPDATE_EXPENSE, *owner, expense_id, *_expense_values(new))
    except asyncpg.ForeignKeyViolationError as error:
        raise _meaning(error, expenses_category_owned=NotFound("Category not found")) from None
    return _found(row, "Expense")


async def delete_expense(connection: asyncpg.Connection, owner: Owner, expense_id: UUID) -> None:
    _found(await connection.fetchrow(DELETE_EXPENSE, *owner, expense_id), "Expense")


async def export_user(connection: asyncpg.Connection, user_id: UUID) -> dict[str, list[Row]]:
    """All rows of a user, in every organization, oldest first."""
    return {
        "categories": [dict(row) for row in await connection.fetch(EXPORT_CATEGORIES, user_id)],
        "expenses": [dict(row) for row in await connection.fetch(EXPORT_EXPENSES, user_id)],
    }


async def delete_user(connection: asyncpg.Connection, user_id: UUID) -> None:
    """Deletes all rows of a user; the expenses first, because they hold the categories."""
    await connection.execute("DELETE FROM core.expenses WHERE user_id = $1", user_id)
    await connection.execute("DELETE FROM core.categories WHERE user_id = $1", user_id)


def _category_values(new: CategoryInput) -> tuple[Any, ...]:
    return new.name, new.name_key, new.description, new.color, new.icon


def _expense_values(new: ExpenseInput) -> tuple[Any, ...]:
    described = (new.description, new.payment_method, new.tags, new.notes, new.currency)
    return new.amount, new.date, new.category_id, *described


def _page(records: list[asyncpg.Record]) -> tuple[list[Row], int]:
    rows = [dict(record) for record in records]
    total = rows[0]["total"]
    for row in rows:
        del row["total"]
    return [row for row in rows if row["id"] is not None], total


def _found(record: asyncpg.Record | None, what: str) -> Row:
    if record is None:
        raise NotFound(f"{what} not found")
    return dict(record)


def _meaning(error: asyncpg.PostgresError, **known: ApiError) -> Exception:
    """What the violation of a constraint means to the client, by the constraint's name; itself when unforeseen."""
    meaning: Exception = known.get(error.constraint_name, error)
    return meaning
