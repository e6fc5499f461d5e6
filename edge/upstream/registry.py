"""The upstreams of the table in force, by name."""

import asyncio
from collections.abc import Mapping

from edge.entries import UpstreamEntry
from edge.upstream.upstream import Upstream
from edge.upstream.weights import WeightsFile

# A request may have found its route to an upstream just before the table lost it.
_RETIRED_SECONDS = 60.0


class Upstreams(dict[str, Upstream]):
    """A changed table keeps those that stay as they are, with their connections and what is known of their servers."""

    def __init__(self, entries: Mapping[str, UpstreamEntry], weights: WeightsFile) -> None:
        super().__init__()
        self._weights = weights
        self._entries: dict[str, UpstreamEntry] = {}
        self._retired: set[Upstream] = set()
        self.adopt(entries)

    def adopt(self, entries: Mapping[str, UpstreamEntry]) -> None:
        """Opens what is new or changed. What is gone serves the requests that still come to it, then is forgotten."""
        for name, entry in entries.items():
            if self._entries.get(name) != entry:
                if name in self:
                    self._retire(name, self[name])
                self[name] = Upstream(name, entry)
                self[name].start(self._weights.in_force.get(name, {}))
        for name in self._entries.keys() - entries.keys():
            self._retire(name, self[name])
        self._entries = dict(entries)

    def weigh(self) -> None:
        """The weights that the file says now."""
        for name, upstream in self.items():
            upstream.weigh(self._weights.in_force.get(name, {}))

    async def close(self) -> None:
        for upstream in {*self.values(), *self._retired}:
            await upstream.close()

    def _retire(self, name: str, upstream: Upstream) -> None:
        upstream.stop()
        self._retired.add(upstream)
        self._forget_later(name, upstream)

    def _forget_later(self, name: str, upstream: Upstream) -> None:
        asyncio.get_running_loop().call_later(_RETIRED_SECONDS, self._forget, name, upstream)

    def _forget(self, name: str, upstream: Upstream) -> None:
        if any(pool.in_flight for pool in upstream.pools):
            self._forget_later(name, upstream)
            return
        self._retired.discard(upstream)
        if self.get(name) is upstream and name not in self._entries:
            del self[name]
