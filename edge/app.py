"""What a worker serves, and what its supervisor must know before. The parts are wired in opening.py."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from common import logs, settings
from common.metrics import HttpMetrics, snapshot
from common.runtime import Runtime
from common.worker import Served, Tls, Worker
from edge.admin.app import Admin
from edge.bans.admin import BanAdmin
from edge.bans.ban_list import BanList
from edge.entries import Table
from edge.load import LoadCollector
from edge.opening import collect, open_edge
from edge.policies.bans import failure_rule
from edge.policies.client_address import ClientAddresses
from edge.policies.doors import Doors
from edge.server import create_server
from edge.settings import EdgeSettings
from edge.table_files import TableFiles
from edge.tls.served import Served as Certificates
from edge.tls.store import require_good


def read_settings(environ: Mapping[str, str] | None = None) -> tuple[EdgeSettings, Table]:
    """Raises SettingsError or TableError naming every fault."""
    loaded = settings.load(EdgeSettings, environ)
    return loaded, TableFiles(loaded, environ).read()[0]


def check() -> dict[str, Any]:
    """What the supervisor needs to know before it starts workers."""
    loaded, _ = read_settings()
    listen: list[dict[str, Any]] = [
        {"name": "http", "host": loaded.edge_host, "port": loaded.edge_port, "setting": "EDGE_PORT"}
    ]
    if loaded.ends_tls:
        require_good(loaded.folders)
        listen.append(
            {"name": "https", "host": loaded.edge_host, "port": loaded.edge_tls_port, "setting": "EDGE_TLS_PORT"}
        )
    listen.append({"name": "admin", "path": str(loaded.admin_socket), "mode": "0600"})
    if loaded.edge_admin_port is not None:
        listen.append(
            {
                "name": "admin-port",
                "host": "127.0.0.1",
                "port": loaded.edge_admin_port,
                "setting": "EDGE_ADMIN_PORT",
            }
        )
    return {
        "workers": loaded.edge_workers,
        "listen": listen,
        "log": loaded.log_file("edge"),
        "lame_duck_seconds": loaded.lame_duck_seconds,
        "shutdown_seconds": loaded.shutdown_seconds,
    }


async def build(worker: Worker) -> Served:
    loaded = settings.load(EdgeSettings)
    logs.configure("edge", loaded.log_level, access=loaded.access_log_format, file=loaded.log_file("edge"))
    metrics = HttpMetrics("edge")
    worker.snapshot = lambda: snapshot(metrics.registry)
    banned = BanList()
    desk = Admin(worker)
    admin = web.AppRunner(desk.app(metrics, ban_admin(loaded, banned).routes()), access_log=None)
    edge = EdgeRunner(loaded, TableFiles(loaded), worker, metrics, banned=banned, admin=desk)
    runners: dict[str, web.BaseRunner | Tls] = {"http": edge, "admin": admin}
    if "https" in worker.listens:
        runners["https"] = Tls(edge, edge.certificates.context)
    if loaded.edge_admin_port is not None:
        runners["admin-port"] = admin
    return runners


def ban_admin(loaded: EdgeSettings, banned: BanList) -> BanAdmin:
    return BanAdmin(
        banned,
        is_trusted=ClientAddresses(loaded.proxies).is_trusted,
        seconds=loaded.ban_seconds,
        rules=(failure_rule(loaded.ban_within_seconds), loaded.limits["auth"]),
    )


class EdgeRunner(web.BaseRunner):
    """Serves the edge; its resources live exactly as long as its connections."""

    def __init__(
        self,
        loaded: EdgeSettings,
        files: TableFiles,
        runtime: Runtime,
        metrics: HttpMetrics,
        lines: logs.LineWriter = logs.STDOUT,
        *,
        banned: BanList | None = None,
        admin: Admin | None = None,
    ) -> None:
        super().__init__(shutdown_timeout=loaded.shutdown_seconds)
        self.certificates = Certificates(loaded.hosts)
        self._arguments = (loaded, files, runtime, metrics, lines)
        self._shared = (banned or BanList(), admin or Admin(runtime))
        self._resources = AsyncExitStack()

    async def shutdown(self) -> None:
        return None

    async def _make_server(self) -> web.Server:
        loaded, _, _, metrics, _ = self._arguments
        doors = Doors(
            connections_max=loaded.edge_connections_max,
            per_address_max=loaded.edge_connections_per_address_max,
            header_seconds=loaded.edge_header_seconds,
            is_trusted=ClientAddresses(loaded.proxies).is_trusted,
        )
        opening = open_edge(*self._arguments, shared=(*self._shared, self.certificates))
        handler = await self._resources.enter_async_context(opening)
        collect(self._resources, metrics, LoadCollector(doors, handler.shedding))
        return create_server(handler, doors, keep_alive_seconds=loaded.edge_keep_alive_seconds)

    async def _cleanup_server(self) -> None:
        await self._resources.aclose()
