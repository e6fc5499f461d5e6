"""Categories and expenses over HTTP."""

from typing import Any
from uuid import UUID

import structlog
from aiohttp import web

from common.identity import IDENTITY
from common.postgres import DATABASE
from common.routes import Route
from common.validation import Page, PageQuery, page
from core_service.modules.expenses import service, store
from core_service.modules.expenses.models import (
    Category,
    CategoryInput,
    Expense,
    ExpenseInput,
    ExpenseQuery,
    Owner,
)

log = structlog.get_logger()


def owner_of(request: web.Request) -> Owner:
    identity = request[IDENTITY]
    return Owner(identity.own_user(), identity.org)


async def create_category(request: web.Request, *, body: CategoryInput) -> dict[str, Any]:
    return await service.create_category(request.app[DATABASE], owner_of(request), body)


async def list_categories(request: web.Request, *, query: PageQuery) -> dict[str, Any]:
    return await service.list_categories(request.app[DATABASE], owner_of(request), query)


async def get_category(request: web.Request, *, category_id: UUID) -> dict[str, Any]:
    owner = owner_of(request)
    async with request.app[DATABASE].connection() as connection:
        return await store.get_category(connection, owner, category_id)


async def replace_category(request: web.Request, *, category_id: UUID, body: CategoryInput) -> dict[str, Any]:
    return await service.replace_category(request.app[DATABASE], owner_of(request), category_id, body)


async def delete_category(request: web.Request, *, category_id: UUID) -> None:
    await service.delete_category(request.app[DATABASE], owner_of(request), category_id)


async def create_expense(request: web.Request, *, body: ExpenseInput) -> dict[str, Any]:
    owner = owner_of(request)
    async with request.app[DATABASE].connection() as connection:
        expense = await store.insert_expense(connection, owner, body)
    log.info(
        "expense_created",
        message=f"Creating expense for user {owner.user_id}",
        user_id=str(owner.user_id),
        expense_id=expense["id"],
    )
    return expense


async def list_expenses(request: web.Request, *, query: ExpenseQuery) -> dict[str, Any]:
    owner = owner_of(request)
    async with request.app[DATABASE].connection() as connection:
        items, total = await store.list_expenses(connection, owner, query)
    return page(items, total, query)


async def get_expense(request: web.Request, *, expense_id: UUID) -> dict[str, Any]:
    owner = owner_of(request)
    async with request.app[DATABASE].connection() as connection:
        return await store.get_expense(connection, owner, expense_id)


async def replace_expense(request: web.Request, *, expense_id: UUID, body: ExpenseInput) -> dict[str, Any]:
    owner = owner_of(request)
    async with request.app[DATABASE].connection() as connection:
        return await store.update_expense(connection, owner, expense_id, body)


async def delete_expense(request: web.Request, *, expense_id: UUID) -> None:
    owner = owner_of(request)
    async with request.app[DATABASE].connection() as connection:
        await store.delete_expense(connection, owner, expense_id)


_CATEGORIES = "/api/v1/categories"
_CATEGORY = "/api/v1/categories/{category_id}"
_EXPENSES = "/api/v1/expenses"
_EXPENSE = "/api/v1/expenses/{expense_id}"

routes = [
    Route(
        method="POST",
        path=_CATEGORIES,
        handler=create_category,
        summary="Create a category",
        permission="categories:write",
        body=CategoryInput,
        answer=Category,
        status=201,
    ),
    Route(
        method="GET",
        path=_CATEGORIES,
        handler=list_categories,
        summary="List your categories, the six default ones first",
        permission="categories:read",
        query=PageQuery,
        answer=Page[Category],
    ),
    Route(
        method="GET",
        path=_CATEGORY,
        handler=get_category,
        summary="Read a category",
        permission="categories:read",
        answer=Category,
    ),
    Route(
        method="PUT",
        path=_CATEGORY,
        handler=replace_category,
        summary="Replace a category that is not a default one",
        permission="categories:write",
        body=CategoryInput,
        answer=Category,
    ),
    Route(
        method="DELETE",
        path=_CATEGORY,
        handler=delete_category,
        summary="Delete a category without expenses that is not a default one",
        permission="categories:write",
        status=204,
    ),
    Route(
        method="POST",
        path=_EXPENSES,
        handler=create_expense,
        summary="Record an expense",
        permission="expenses:write",
        body=ExpenseInput,
        answer=Expense,
        status=201,
    ),
    Route(
        method="GET",
        path=_EXPENSES,
        handler=list_expenses,
        summary="List your expenses, the newest first, filtered",
        permission="expenses:read",
        query=ExpenseQuery,
        answer=Page[Expense],
    ),
    Route(
        method="GET",
        path=_EXPENSE,
        handler=get_expense,
        summary="Read an expense",
        permission="expenses:read",
        answer=Expense,
    ),
    Route(
        method="PUT",
        path=_EXPENSE,
        handler=replace_expense,
        summary="Replace an expense",
        permission="expenses:write",
        body=ExpenseInput,
        answer=Expense,
    ),
    Route(
        method="DELETE",
        path=_EXPENSE,
        handler=delete_expense,
        summary="Delete an expense",
        permission="expenses:write",
        status=204,
    ),
]
