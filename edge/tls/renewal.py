"""Keeps a valid certificate for every host that has to be ordered: one order over all workers and nodes.

The certificate in use stays until a new one is proven: it loads, its key belongs to it, it covers the name and has not
expired. An order that fails is made again later and later; nothing is ever ordered for a host that is not configured.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import structlog
from redis import RedisError
from redis.asyncio import Redis

from edge.tls.challenges import Challenges
from edge.tls.lock import Hold, held
from edge.tls.ordering import OrderFailed, order
from edge.tls.records import Record, Records, read_kept
from edge.tls.settings import Authority, unobtainable
from edge.tls.sharing import Sharing
from edge.tls.store import Certificate, CertificateError, Folders, Pair, read, write_private

LOOK_SECONDS = 60.0
_RENEW_DAYS = 30
Outcome = Literal["fresh", "busy", "waiting", "taken", "issued", "failed"]
Find = Callable[[str], Certificate | None]
log = structlog.get_logger()


def renew_at(certificate: Certificate) -> float:
    """30 days before its end; one that lives less than 90 days when a third of its life is left."""
    ahead = min(timedelta(days=_RENEW_DAYS), certificate.life / 3)
    return (certificate.not_after - ahead).timestamp()


class Renewal:
    """`find` says which certificate a host is served with now. Nothing here raises for an authority's fault."""

    def __init__(
        self,
        redis: Redis,
        *,
        folders: Folders,
        authority: Authority,
        service_key: str,
        find: Find,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._folders = folders
        self._authority = authority
        self._find = find
        self._clock = clock
        self._records = Records(redis, folders.own)
        self._sharing = Sharing(redis, service_key, folders.authority)
        self._challenges = Challenges(redis)

    def is_due(self, name: str) -> bool:
        found = self._find(name)
        if found is None:
            return True
        if found.pair.source == "manual":
            return False
        return found.pair.authority != self._folders.authority or self._clock() >= renew_at(found)

    async def attend(self, name: str) -> Outcome:
        """What is to be done for `name` now: nothing, mostly. Raises RedisError when Valkey is away."""
        if await self._take(name):
            return "taken"
        if not self.is_due(name):
            return "fresh"
        if self._clock() < read_kept(self._folders.own, name).next_at(self._clock()):
            return "waiting"
        return await self.renew(name)

    async def renew(self, name: str, *, insists: bool = False) -> Outcome:
        """Orders now. `insists`: also when none is due or a failure asks for patience; the budget holds for all.

        Raises RedisError.
        """
        async with held(self._redis, name) as hold:
            if hold is None:
                return "busy"
            if await self._take(name):  # by whoever had the lock before us
                return "taken"
            record, now = await self._records.read(name), self._clock()
            if now < (record.budget_at(now) if insists else record.next_at(now)):
                return "waiting"
            return await self._order(hold, name, record)

    async def rehearse(self, name: str) -> None:
        """An order whose certificate is thrown away, at a staging authority if there is one. Raises OrderFailed."""
        staging = self._authority.staging()
        folder = self._folders.own if staging == self._authority else self._folders.acme / staging.slug
        self._prove(name, await order(staging, folder, name, self._challenges.put))

    async def _order(self, hold: Hold, name: str, record: Record) -> Outcome:
        try:
            pem = await order(self._authority, self._folders.own, name, self._challenges.put)
            certificate = self._prove(name, pem)
        except OrderFailed as error:
            record = record.failed(self._clock(), str(error))
            await self._records.write(hold, name, record)
            again = datetime.fromtimestamp(record.next_at(self._clock()), UTC).isoformat(timespec="seconds")
            log.warning(
                "certificate_not_issued", name=name, reason=str(error), failures=record.failures, again_at=again
            )
            return "failed"
        write_private(self._folders.own / f"{name}.pem", pem)
        await self._records.write(hold, name, record.succeeded(self._clock()))
        await self._sharing.give(hold, name, pem, certificate.not_after.timestamp() - self._clock())
        log.info("certificate_issued", name=name, issuer=certificate.issuer, until=certificate.not_after.isoformat())
        return "issued"

    async def _take(self, name: str) -> bool:
        """Whether another node had a certificate that lasts longer than ours; it is ours too then."""
        pem = await self._sharing.take(name)
        if pem is None:
            return False
        try:
            theirs = self._prove(name, pem)
        except OrderFailed as error:
            log.warning("shared_certificate_refused", name=name, reason=str(error))
            return False
        path = self._folders.own / f"{name}.pem"
        if theirs.not_after <= _end_of(path):
            return False
        write_private(path, pem)
        log.info("certificate_taken", name=name, until=theirs.not_after.isoformat())
        return True

    def _prove(self, name: str, pem: bytes) -> Certificate:
        """Raises OrderFailed."""
        with tempfile.TemporaryDirectory(prefix="gatehouse-certificate-") as folder:
            path = Path(folder, f"{name}.pem")
            write_private(path, pem)
            try:
                certificate = read(Pair(path, path), datetime.fromtimestamp(self._clock(), UTC))
            except CertificateError as error:
                raise OrderFailed(f"what the authority sent cannot be used: {error}") from None
        if not certificate.covers(name):
            raise OrderFailed(f"what the authority sent is for {', '.join(certificate.names)}")
        return certificate


def _end_of(path: Path) -> datetime:
    try:
        return read(Pair(path, path)).not_after
    except CertificateError:
        return datetime.min.replace(tzinfo=UTC)


async def follow(renewal: Renewal, hosts: Callable[[], Sequence[str]], changed: Callable[[], Awaitable[None]]) -> None:
    """Attends to every host once a minute, for ever; `changed` hears of each new certificate."""
    while True:
        for name in [host for host in dict.fromkeys(hosts()) if unobtainable(host) is None]:
            try:
                if await renewal.attend(name) in ("taken", "issued"):
                    await changed()
            except (RedisError, OSError) as error:
                log.warning("certificate_not_looked_after", name=name, reason=repr(error))
            except Exception:
                log.exception("certificate_not_looked_after", name=name)
        await asyncio.sleep(LOOK_SECONDS)
