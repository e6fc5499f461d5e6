"""What there is to know of each certificate, read from disk: for a command, the doctor and the admin interface."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from edge.settings import EdgeSettings
from edge.tls.records import read_kept
from edge.tls.renewal import renew_at
from edge.tls.served import Served
from edge.tls.settings import unobtainable
from edge.tls.store import Certificate, CertificateError, ExpiredError, Pair, read

WARN_DAYS = 14
State = Literal["good", "ending", "expired", "refused", "missing", "unobtainable"]


class Status(NamedTuple):
    """One certificate, or one host that should have one.

    names       hosts it covers
    days_left   None where there is no certificate to read
    source      manual, or acme: ordered by ourselves
    state       good; ending: it should have been renewed by now; expired, refused: not served; missing: not there yet;
                unobtainable: nobody can order it
    renews_at   when it is ordered, anew or for the first time; None where a person must
    error       why the last order failed, or why it is refused
    """

    names: tuple[str, ...]
    state: State
    source: str
    issuer: str = ""
    not_after: datetime | None = None
    days_left: float | None = None
    renews_at: datetime | None = None
    error: str = ""
    file: str = ""

    def as_json(self) -> dict[str, Any]:
        times = {
            name: value and value.isoformat(timespec="seconds")
            for name, value in self._asdict().items()
            if name in _TIMES
        }
        return {**self._asdict(), **times}


_TIMES = ("not_after", "renews_at")


def describe(loaded: EdgeSettings, hosts: Sequence[str], now: datetime | None = None) -> list[Status]:
    """Of all certificates, and of `hosts` that have none. Blocks for as long as the disk does.

    Raises nothing for a fault of a certificate.
    """
    return list(_describe(loaded, hosts, now or datetime.now(UTC)))


def is_ending(certificate: Certificate, now: datetime) -> bool:
    """A sixth of its life is warning enough for one that lives shortly."""
    return certificate.not_after - now <= min(timedelta(days=WARN_DAYS), certificate.life / 6)


def _describe(loaded: EdgeSettings, hosts: Sequence[str], now: datetime) -> Iterator[Status]:
    good, bad = [], []
    for pair in loaded.folders.pairs():
        try:
            good.append(read(pair, now))
        except CertificateError as error:
            state: State = "expired" if isinstance(error, ExpiredError) else "refused"
            bad.append(Status((pair.label,), state, pair.source, error=str(error), file=str(pair.chain)))
    served = Served(loaded.hosts)
    served.use(good, loaded.folders.authority)
    for certificate in served.certificates():
        yield _good(loaded, certificate, now)
    yield from bad
    if loaded.acme:
        yield from (_missing(loaded, host, now) for host in dict.fromkeys(hosts) if not _is_covered(served, host))


def _good(loaded: EdgeSettings, certificate: Certificate, now: datetime) -> Status:
    pair, days = certificate.pair, certificate.days_left(now)
    status = Status(
        names=certificate.names,
        state="ending" if is_ending(certificate, now) else "good",
        source=pair.source,
        issuer=certificate.issuer,
        not_after=certificate.not_after,
        days_left=round(days, 1),
        file=str(pair.chain),
    )
    return _with_renewal(loaded, status, pair, renew_at(certificate), now) if loaded.acme else status


def _with_renewal(loaded: EdgeSettings, status: Status, pair: Pair, due: float, now: datetime) -> Status:
    if pair.source == "manual":
        return status
    record = read_kept(loaded.folders.own, pair.label)
    # One of another authority, such as the staging one, is replaced at once.
    due = due if pair.authority == loaded.folders.authority else 0.0
    at = max(due, record.next_at(now.timestamp()), now.timestamp())
    return status._replace(renews_at=datetime.fromtimestamp(at, UTC), error=record.error)


def _missing(loaded: EdgeSettings, host: str, now: datetime) -> Status:
    if reason := unobtainable(host):
        return Status((host,), "unobtainable", "manual", error=reason)
    status = Status((host,), "missing", "acme")
    pair = Pair(
        loaded.folders.own / f"{host}.pem", loaded.folders.own / f"{host}.pem", "acme", loaded.folders.authority
    )
    return _with_renewal(loaded, status, pair, 0.0, now)


def _is_covered(served: Served, host: str) -> bool:
    return served.covers(host.replace("*", "any", 1))
