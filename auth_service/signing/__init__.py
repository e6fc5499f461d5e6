"""The keys that sign access tokens, and the tokens."""

from aiohttp import web

from auth_service.signing.handlers import routes
from common.routes import add_routes


def setup(app: web.Application) -> None:
    add_routes(app, routes)
