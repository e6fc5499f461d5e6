"""The upstreams of one worker: those of its table, and the auth service once more for the edge's own questions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from common.background import stop
from common.http1 import Pool
from edge.entries import Table, UpstreamEntry
from edge.settings import EdgeSettings
from edge.upstream.registry import Upstreams
from edge.upstream.weights import WeightsFile, weights_file

# The services whose health is the edge's own, where the table names them.
_SERVICES = ("auth", "core")
_FEED_CONNECTIONS = 4
_KEY_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Opened:
    """`feeding` and `resolving` are two ways to auth: a flood of unknown keys must not keep revocations from coming."""

    loaded: EdgeSettings
    of_table: Upstreams
    feeding: Upstreams
    resolving: Upstreams

    def adopt(self, table: Table) -> None:
        self.of_table.adopt(table.upstreams)
        self.feeding.adopt(_auth(table, self.loaded, connections_max=_FEED_CONNECTIONS))
        self.resolving.adopt(_auth(table, self.loaded, connections_max=_KEY_CONNECTIONS))

    def services(self) -> dict[str, list[Pool]]:
        return {name: self.of_table[name].pools for name in _SERVICES if name in self.of_table}


@asynccontextmanager
async def open_upstreams(table: Table, loaded: EdgeSettings) -> AsyncIterator[Opened]:
    """With what follows the weights in the background."""
    weights = WeightsFile(weights_file(loaded.gatehouse_var))
    weights.look()
    own = (_auth(table, loaded, connections_max=count) for count in (_FEED_CONNECTIONS, _KEY_CONNECTIONS))
    all_three = [Upstreams(entries, weights) for entries in (table.upstreams, *own)]
    async with AsyncExitStack() as resources:
        for upstreams in all_three:
            resources.push_async_callback(upstreams.close)
        following = asyncio.create_task(weights.follow(*(upstreams.weigh for upstreams in all_three)))
        resources.push_async_callback(stop, following)
        yield Opened(loaded, *all_three)


def _auth(table: Table, loaded: EdgeSettings, *, connections_max: int) -> dict[str, UpstreamEntry]:
    """The auth service on connections that requests passed on cannot use up."""
    auth = table.upstreams.get("auth") or UpstreamEntry(servers=[loaded.upstream_variables()["AUTH_URL"]])
    return {"auth": auth.model_copy(update={"connections_max": connections_max, "health": None})}
