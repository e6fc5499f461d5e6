"""The edge's certificates as commands see them: with the edge's settings, whether it runs or not."""

import logging
from secrets import token_urlsafe

import structlog

from common import settings
from common.settings import SettingsError, variable
from common.valkey import connect
from edge.settings import EdgeSettings
from edge.table import TableError
from edge.table_files import TableFiles
from edge.tls.renewal import Renewal
from edge.tls.served import Served
from edge.tls.settings import unobtainable
from edge.tls.status import Status, describe
from edge.tls.store import Folders
from edge.tls.watch import Watch
from ops.embedded import Valkey
from ops.stack.configuration import Configuration
from ops.stack.database import running_url
from ops.stack.errors import StackError

_KEYS = ("AUTH_SERVICE_KEY", "CORE_SERVICE_KEY")


def edge_settings(configuration: Configuration, **more: str) -> EdgeSettings:
    """What is not there before the first start has a stand-in: it says nothing about certificates.

    Raises StackError.
    """
    environ = configuration.environ
    absent = {name: token_urlsafe(48) for name in _KEYS if variable(name, environ) is None}
    try:
        return settings.load(EdgeSettings, {**environ, **configuration.placeholders(), **absent, **more})
    except SettingsError as error:
        raise StackError(str(error)) from None


def hosts(loaded: EdgeSettings, configuration: Configuration) -> tuple[str, ...]:
    """What a certificate is ordered for: the hosts of DOMAINS, and those that routes name where the table is good."""
    try:
        table = TableFiles(loaded, configuration.environ).read()[0]
    except TableError:
        return loaded.hosts
    return tuple(dict.fromkeys([*loaded.hosts, *(host.lower() for route in table.routes for host in route.hosts)]))


def certificates(configuration: Configuration) -> list[Status]:
    """Raises StackError when the edge's settings are wrong."""
    loaded = edge_settings(configuration)
    return describe(loaded, hosts(loaded, configuration))


class Renewing:
    """What the edge does by itself, done now. Raises StackError where it could not."""

    def __init__(self, configuration: Configuration) -> None:
        # What the edge would log, the command says.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        url = configuration.redis_url or running_url(Valkey, configuration)
        if url is None:
            raise StackError("the embedded Valkey is not running; `gatehouse up` starts it")
        loaded = edge_settings(configuration, REDIS_URL=url)
        if not loaded.acme:
            raise StackError("ACME=true is not set: certificates of yours are renewed by whoever made them")
        self.hosts = tuple(host for host in hosts(loaded, configuration) if unobtainable(host) is None)
        self.folders: Folders = loaded.folders
        self._served = Served(loaded.hosts)
        Watch(loaded.folders, self._served).look()
        self._redis = connect(url)
        self.renewal = Renewal(
            self._redis,
            folders=loaded.folders,
            authority=loaded.authority,
            service_key=loaded.auth_service_key,
            find=self._served.find,
        )

    def is_own(self, host: str) -> bool:
        """Whether a certificate of yours serves `host`, so that none is ever ordered."""
        found = self._served.find(host)
        return found is not None and found.pair.source == "manual"

    async def close(self) -> None:
        await self._redis.aclose()
