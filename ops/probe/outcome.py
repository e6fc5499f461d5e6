"""One probe from question to alert."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from common.settings import variable
from ops.alerts import alert
from ops.owner import as_owner
from ops.probe.incidents import Incidents, incidents
from ops.probe.reviving import down, edge_itself, revive
from ops.stack.errors import StackError
from ops.stack.place import Place
from ops.stack.probe import unhealthy
from ops.visit import Visit, visit

_AFTER_RESTART_SECONDS = 30
_POLL_SECONDS = 0.5


@dataclass
class Outcome:
    """`problem`, `degraded` and `certificate_problem` are sentences, empty where all is well.

    milliseconds        from the question to the whole answer
    certificate_days    days left of PUBLIC_URL's certificate (or of the URL's asked); None without https
    restart             what `--restart` did; empty when it had nothing to do
    """

    url: str
    status: int
    milliseconds: int
    problem: str = ""
    degraded: str = ""
    certificate_days: int | None = None
    certificate_problem: str = ""
    restart: str = ""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"))

    @property
    def passed(self) -> bool:
        return not self.problem

    def line(self) -> str:
        """`2025-11-21T10:30:00Z passed 200 12 ms https://…`, and what there is to say."""
        word = "passed" if self.passed else "failed"
        notes = [note for note in (self.problem, self.degraded, self.certificate_problem, self.restart) if note]
        head = f"{self.at} {word} {self.status or '-'} {self.milliseconds} ms {self.url}"
        return " ".join(f"{head}{': ' if notes else ''}{'; '.join(notes)}".split())

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "passed": self.passed}


def probe(
    url: str, place: Place, *, timeout: float = 5, restarts: bool = False, environ: Mapping[str, str] | None = None
) -> Outcome:
    """Asks, restarts what is down where `restarts` says so, writes the line, alerts.

    Raises StackError when the line or the memory of alerts cannot be written; the alert is out by then.
    """
    outcome = _ask(url, timeout, environ)
    if not outcome.passed:
        _look_behind(outcome, place, timeout, environ, restarts=restarts)
    faults = [*_remember(outcome, place, environ), *_append(outcome, place)]
    if faults:
        raise StackError("\n".join([*faults, outcome.line()]))
    return outcome


def _ask(url: str, timeout: float, environ: Mapping[str, str] | None) -> Outcome:
    found = visit(url, timeout=timeout)
    outcome = Outcome(url, found.status, found.milliseconds, problem=_problem(found))
    if outcome.passed and (away := unhealthy(found.fields)):
        outcome.degraded = f"degraded: {', '.join(away)} does not answer"
    _judge_certificate(outcome, found, timeout, environ)
    return outcome


def _problem(found: Visit) -> str:
    """The culprits where a 503 names them."""
    if found.status == 200:
        return ""
    if culprits := unhealthy(found.fields):
        return f"not ready: {', '.join(culprits)}"
    return found.problem or f"answered {found.status} where 200 was expected"


def _judge_certificate(outcome: Outcome, found: Visit, timeout: float, environ: Mapping[str, str] | None) -> None:
    """PUBLIC_URL's, whatever was asked: it is what clients see."""
    public = variable("PUBLIC_URL", environ) or ""
    if outcome.url.startswith("https://"):
        public = outcome.url
    elif public.startswith("https://"):
        found = visit(public, timeout=timeout)
    else:
        return
    if found.problem.startswith("the certificate"):
        outcome.certificate_problem = f"{public}: {found.problem}"
    elif found.certificate is not None:
        outcome.certificate_days = found.certificate.days_left
        if found.certificate.is_due:
            outcome.certificate_problem = f"the certificate of {public} expires in {found.certificate.left}"


def _look_behind(
    outcome: Outcome, place: Place, timeout: float, environ: Mapping[str, str] | None, *, restarts: bool
) -> None:
    """What the edge itself says tells whether to look at it or at what stands in front of it."""
    edge = edge_itself(environ, timeout)
    if edge.status == 200:
        outcome.problem += "; the edge itself is ready: look at the proxy and the network in front of it"
    if not restarts:
        return
    try:
        outcome.restart = revive(place, down(edge))
    except StackError as error:
        outcome.restart = f"not restarted: {error}"
        return
    outcome.restart += ", answers again" if _answers_again(outcome.url, timeout) else ", still does not answer"


def _answers_again(url: str, timeout: float) -> bool:
    deadline = time.monotonic() + _AFTER_RESTART_SECONDS
    while visit(url, timeout=timeout).status != 200:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _remember(outcome: Outcome, place: Place, environ: Mapping[str, str] | None) -> list[str]:
    """Alerts what began or ended; what went wrong with that, in words."""

    def tell(subject: str, detail: str) -> bool:
        return alert(subject, detail, environ=environ)

    is_reported = False
    try:
        place.var.mkdir(mode=0o700, parents=True, exist_ok=True)
        with incidents(place.run / "probe.json", tell, var=place.var) as known:
            _report(outcome, known)
            is_reported = True
    except OSError as error:
        if not is_reported:
            _report(outcome, Incidents({}, tell, time.time))
        return [f"{error.filename or place.run} cannot be written, so every probe alerts: {error.strerror}"]
    return []


def _report(outcome: Outcome, known: Incidents) -> None:
    url = outcome.url
    notes = "; ".join(note for note in (outcome.problem, outcome.restart) if note)
    known.report("health", notes if outcome.problem else "", subject=f"{url} is down", over=f"{url} is up again")
    if outcome.passed:  # of what does not answer nobody knows whether it is degraded
        known.report("degraded", outcome.degraded, subject=f"{url} is degraded", over=f"{url} is whole again")
    if outcome.certificate_problem or outcome.certificate_days is not None:
        problem = outcome.certificate_problem
        known.report("certificate", problem, subject="a certificate needs care", over="the certificate is good again")


def _append(outcome: Outcome, place: Place) -> list[str]:
    """One write, so that lines of two probes never mix."""
    path = place.log("probe")
    try:
        with as_owner(place.var):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, f"{outcome.line()}\n".encode())
            finally:
                os.close(handle)
    except OSError as error:
        return [f"{path} cannot be written: {error.strerror}"]
    return []
