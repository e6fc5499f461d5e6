"""Takes in a changed route table, or changed limits of tiers, while it serves: no new process, no connection closed."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from common.settings import SettingsError
from edge.entries import Table
from edge.route_limits import LimitTable
from edge.table import TableError
from edge.table_files import Stamp, TableFiles

log = structlog.get_logger()
Adopt = Callable[[Table, LimitTable], Awaitable[None]]


class TableWatch:
    """Every worker looks for itself; `speaks` says whether this is the one that logs.

    `refused` names the faults of the table on the disk while an older one is in force.
    """

    def __init__(self, files: TableFiles, *, speaks: bool) -> None:
        self._files = files
        self._speaks = speaks
        self._judged = self._seen = files.stamp()
        self.refused: list[str] = []

    def first(self) -> tuple[Table, LimitTable]:
        """What to begin with. Raises TableError."""
        table, limits = self._files.read_or_kept()
        if self._speaks and not self._files.is_kept:
            self._files.keep(table)
        return table, limits

    async def follow(self, adopt: Adopt, seconds: float) -> None:
        """Looks every `seconds`, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._look(adopt)
            except Exception:
                log.exception("table_watch_failed")

    async def _look(self, adopt: Adopt) -> None:
        # Off the loop: a table of thousands of routes takes a while to read.
        seen = await asyncio.to_thread(self._files.stamp)
        # The same twice: whoever writes them has finished.
        if seen == self._seen and self._may_be_judged_anew(seen):
            self._judged = seen
            await self._judge(adopt)
        self._seen = seen

    def _may_be_judged_anew(self, seen: Stamp) -> bool:
        """A variable may be what a refused table lacks. One in force gets those of today with a reload, as all do."""
        return seen != self._judged if self.refused else seen.tables != self._judged.tables

    async def _judge(self, adopt: Adopt) -> None:
        try:
            table, limits = await asyncio.to_thread(self._files.read)
        except (TableError, SettingsError) as error:
            self.refused[:] = str(error).splitlines()
            if self._speaks:
                log.warning("table_refused", faults=list(self.refused), in_force="the one before")
            return
        self.refused.clear()
        await adopt(table, limits)
        if self._speaks:
            await asyncio.to_thread(self._files.keep, table)
            log.info("table_changed", routes=len(table.routes), upstreams=len(table.upstreams))
