"""Auth and core as applications that were never started: what routes they have."""

from pathlib import Path

from aiohttp import web

from auth_service.app import create_app as create_auth
from auth_service.settings import AuthSettings
from common.routes import ROUTES, Route
from common.worker import Worker
from core_service.app import create_app as create_core
from core_service.settings import CoreSettings
from edge.router import Router
from edge.settings import EdgeSettings
from edge.table import read_table

_VALUES = {
    "SECRET_KEY": "a-secret-of-the-architecture-tests-only",
    "KEY_PEPPER": "pepper",
    "AUTH_SERVICE_KEY": "auth",
    "CORE_SERVICE_KEY": "core",
    "DATABASE_URL": "postgresql://127.0.0.1:9/none",
    "REDIS_URL": "redis://127.0.0.1:9/0",
}


def applications() -> dict[str, web.Application]:
    """By the name of the edge's upstream; nothing is connected."""
    return {
        "auth": create_auth(AuthSettings.model_validate(_VALUES), runtime=Worker()),
        "core": create_core(CoreSettings.model_validate(_VALUES), runtime=Worker()),
    }


def routes() -> list[tuple[str, Route]]:
    """Every declared route with the service that has it."""
    return [(service, route) for service, app in applications().items() for route in app[ROUTES]]


def edge_router() -> Router:
    """The edge's router over the table that ships."""
    settings = EdgeSettings.model_validate(_VALUES)
    table = read_table(Path(settings.edge_routes), settings.upstream_variables().get)
    return Router(table, settings.limit_table, settings.edge_body_bytes_max)
