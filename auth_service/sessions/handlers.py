"""`/api/v1/auth/login`, `/refresh`, `/logout`."""

from aiohttp import web

from auth_service.sessions.models import Login, LoginAnswer, Logout, Refresh, SignedInUser, TokenAnswer
from auth_service.sessions.service import SESSIONS
from auth_service.visitors import visitor
from common.identity import IDENTITY
from common.routes import Access, Route


async def login(request: web.Request, body: Login) -> LoginAnswer:
    tokens = await request.app[SESSIONS].login(body, visitor(request))
    account = tokens.account
    user = SignedInUser(id=account.id, email=account.email, role=account.role, organization_id=account.org)
    return LoginAnswer(
        access_token=tokens.access, refresh_token=tokens.refresh, expires_in=tokens.expires_in, user=user
    )


async def refresh(request: web.Request, body: Refresh) -> TokenAnswer:
    tokens = await request.app[SESSIONS].refresh(body.refresh_token, visitor(request))
    return TokenAnswer(access_token=tokens.access, refresh_token=tokens.refresh, expires_in=tokens.expires_in)


async def logout(request: web.Request, body: Logout) -> None:
    identity = request.get(IDENTITY)
    await request.app[SESSIONS].logout(identity.session if identity else None, body.refresh_token)


routes = [
    Route(
        method="POST",
        path="/api/v1/auth/login",
        handler=login,
        summary="Sign in with address and password",
        permission=Access.PUBLIC,
        body=Login,
        answer=LoginAnswer,
    ),
    Route(
        method="POST",
        path="/api/v1/auth/refresh",
        handler=refresh,
        summary="Exchange a refresh token for new tokens",
        permission=Access.PUBLIC,
        body=Refresh,
        answer=TokenAnswer,
    ),
    Route(
        method="POST",
        path="/api/v1/auth/logout",
        handler=logout,
        summary="End the session of the access token, the refresh token or both",
        permission=Access.PUBLIC,
        body=Logout,
        is_body_optional=True,
        status=204,
    ),
]
