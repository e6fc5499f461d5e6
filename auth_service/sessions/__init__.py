"""Sign-in, refresh, sign-out."""

from aiohttp import web

from auth_service.sessions.handlers import routes
from common.routes import add_routes


def setup(app: web.Application) -> None:
    add_routes(app, routes)
