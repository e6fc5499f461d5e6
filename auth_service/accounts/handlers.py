"""`/api/v1/auth/register` and `/api/v1/me`."""

from aiohttp import web

from auth_service.accounts.models import PasswordChange, Profile, Registration, UserAnswer, UserView
from auth_service.accounts.service import ACCOUNTS
from auth_service.callers import caller
from auth_service.visitors import visitor
from common.routes import Access, Route


async def register(request: web.Request, body: Registration) -> UserAnswer:
    account = await request.app[ACCOUNTS].register(body, visitor(request))
    return UserAnswer(user=UserView.of(account))


async def get_me(request: web.Request) -> UserAnswer:
    return UserAnswer(user=UserView.of(await request.app[ACCOUNTS].get(caller(request))))


async def patch_me(request: web.Request, body: Profile) -> UserAnswer:
    return UserAnswer(user=UserView.of(await request.app[ACCOUNTS].update(caller(request), body)))


async def put_password(request: web.Request, body: PasswordChange) -> None:
    await request.app[ACCOUNTS].change_password(caller(request), body, visitor(request))


async def delete_me(request: web.Request) -> None:
    await request.app[ACCOUNTS].delete(caller(request), visitor(request))


routes = [
    Route(
        method="POST",
        path="/api/v1/auth/register",
        handler=register,
        summary="Open an account with a personal organization",
        permission=Access.PUBLIC,
        body=Registration,
        answer=UserAnswer,
        status=201,
    ),
    Route(
        method="GET",
        path="/api/v1/me",
        handler=get_me,
        summary="The caller's own account",
        permission="account:read",
        answer=UserAnswer,
    ),
    Route(
        method="PATCH",
        path="/api/v1/me",
        handler=patch_me,
        summary="Change names; null clears one",
        permission="account:write",
        body=Profile,
        answer=UserAnswer,
    ),
    Route(
        method="PUT",
        path="/api/v1/me/password",
        handler=put_password,
        summary="Change the password and end all other sessions",
        permission="account:write",
        body=PasswordChange,
        status=204,
    ),
    Route(
        method="DELETE",
        path="/api/v1/me",
        handler=delete_me,
        summary="Delete the account and everything of it",
        permission="account:write",
        status=204,
    ),
]
