"""API keys: made by their owner, resolved for the edge."""

from aiohttp import web

from auth_service.keys.handlers import routes
from common.routes import add_routes


def setup(app: web.Application) -> None:
    add_routes(app, routes)
