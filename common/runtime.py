"""What an application may know about the process it runs in."""

import asyncio
from importlib.metadata import version
from typing import Any, Protocol

from aiohttp import web

from common.metrics import Family

VERSION = version("gatehouse")


class Runtime(Protocol):
    """A worker under the supervisor, or a stand-alone process.

    `retiring`: answer with `Connection: close`, a newer worker takes over. `draining`: the whole service is
    going away, so readiness is false. `index`: this worker's number among `count`, from 0.
    `closing`: an event, set when connections that would last must end.
    """

    @property
    def retiring(self) -> bool: ...
    @property
    def draining(self) -> bool: ...
    @property
    def index(self) -> int: ...
    @property
    def closing(self) -> asyncio.Event: ...
    @property
    def count(self) -> int: ...
    async def merged_metrics(self) -> list[Family]: ...
    async def status(self) -> list[dict[str, Any]]: ...
    async def announce_closing(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """For `app.on_response_prepare`: while retiring, every answer ends its connection."""


RUNTIME: web.AppKey[Runtime] = web.AppKey("runtime", Runtime)
