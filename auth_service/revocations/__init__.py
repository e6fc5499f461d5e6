"""What has ended before its time, as a feed that edges and core follow."""

from aiohttp import web

from auth_service.revocations.handlers import routes
from common.routes import add_routes


def setup(app: web.Application) -> None:
    add_routes(app, routes)
