"""Users: registration, their profile, their password, their end."""

from aiohttp import web

from auth_service.accounts.handlers import routes
from common.routes import add_routes


def setup(app: web.Application) -> None:
    add_routes(app, routes)
