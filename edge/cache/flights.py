"""One request to an upstream for all who want the same answer at the same time."""

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any, Generic, TypeVar

Fetched = TypeVar("Fetched")


class Flight(Generic[Fetched]):
    """Goes on while anybody waits for it, also when who began it leaves; ends when nobody does."""

    def __init__(self, flights: "Flights[Fetched]", key: Hashable, fetch: Coroutine[Any, Any, Fetched]) -> None:
        self._flights = flights
        self._key = key
        self._waiting = 0
        self.task = asyncio.get_running_loop().create_task(fetch)
        self.task.add_done_callback(self._end)

    async def wait(self) -> Fetched:
        """Its result. Raises what `fetch` raised."""
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self.task.done():
                self.task.cancel()
                self._flights.remove(self._key, self)  # at once: nobody may join what is being cancelled

    def _end(self, task: "asyncio.Task[Fetched]") -> None:
        self._flights.remove(self._key, self)
        if not task.cancelled():
            task.exception()  # who waited has seen it; if nobody did, nobody misses it


class Flights(Generic[Fetched]):
    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight[Fetched]] = {}

    def current(self, key: Hashable) -> Flight[Fetched] | None:
        return self._flights.get(key)

    def start(self, key: Hashable, fetch: Coroutine[Any, Any, Fetched]) -> Flight[Fetched]:
        flight = self._flights[key] = Flight(self, key, fetch)
        return flight

    def remove(self, key: Hashable, flight: Flight[Fetched]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
