"""Notices changed certificate files and takes them into use, without a restart, in every worker for itself."""

import asyncio
from datetime import UTC, datetime

import structlog

from edge.tls.served import Served
from edge.tls.store import Certificate, CertificateError, Folders, Pair, read

# Asked for rather than told: a mounted secret or a network's file system tells nobody.
LOOK_SECONDS = 2.0
_WARN_DAYS = 14
_Signature = tuple[tuple[int, ...], ...]
log = structlog.get_logger()


class Watch:
    """What is refused leaves what was served before in its place. Removed files are forgotten at the next reload."""

    def __init__(self, folders: Folders, served: Served) -> None:
        self._folders = folders
        self._served = served
        self._signatures: dict[Pair, _Signature] = {}
        self._good: dict[Pair, Certificate] = {}
        self._looking = asyncio.Lock()

    def look(self) -> None:
        """Reads what changed. Blocks for as long as the disk does."""
        signatures = {pair: pair.signature() for pair in self._folders.pairs()}
        changed = [pair for pair, signature in signatures.items() if signature != self._signatures.get(pair)]
        for pair in changed:
            self._signatures[pair] = signatures[pair]
            self._read(pair)
        if changed:
            self._served.use(self._good.values(), self._folders.authority)

    async def follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.refresh()
            except Exception:
                log.exception("certificates_not_looked_at")

    async def refresh(self) -> None:
        async with self._looking:
            await asyncio.to_thread(self.look)

    def _read(self, pair: Pair) -> None:
        try:
            certificate = read(pair)
        except CertificateError as error:
            kept = self._good.get(pair)
            log.warning("certificate_refused", reason=str(error), kept_until=kept and kept.not_after.isoformat())
            return
        self._good[pair] = certificate
        days = round(certificate.days_left(datetime.now(UTC)), 1)
        tell = log.warning if days <= _WARN_DAYS and pair.source == "manual" else log.info
        tell("certificate_served", names=certificate.names, days_left=days, file=str(pair.chain))
