"""The edge's own certificates: usable, closed to others, and not about to end."""

from edge.tls.status import Status
from ops.certificates import certificates
from ops.stack.configuration import Configuration
from ops.stack.doctor import Finding
from ops.stack.errors import StackError


def check(configuration: Configuration) -> Finding:
    try:
        found = certificates(configuration)
    except StackError:
        return Finding("Certificates", "skip", "not known before the settings are right")
    except OSError as error:
        return Finding("Certificates", "skip", f"{error.filename} cannot be read by this user")
    return _judged(found) if found else Finding("Certificates", "ok", "none: TLS ends in front, or nowhere")


def _judged(found: list[Status]) -> Finding:
    by_state: dict[str, list[Status]] = {}
    for status in found:
        by_state.setdefault(status.state, []).append(status)
    if bad := [*by_state.get("refused", ()), *by_state.get("expired", ())]:
        detail = "; ".join(status.error for status in bad)
        return Finding("Certificates", "fail", detail, "correct the files; the edge takes them in by itself")
    if ending := by_state.get("ending"):
        named = ", ".join(f"{status.names[0]} in {status.days_left:.0f} days" for status in ending)
        fix = "put new ones in their place, or see with `gatehouse certs` why no new one comes"
        return Finding("Certificates", "warn", f"about to expire: {named}", fix)
    if missing := by_state.get("missing"):
        detail = "; ".join(f"{status.names[0]}: {status.error or 'ordered when the edge runs'}" for status in missing)
        return Finding("Certificates", "warn", f"without one: {detail}", "`gatehouse certs renew --dry-run` tries it")
    if alone := by_state.get("unobtainable"):
        detail = "; ".join(f"{status.names[0]}: {status.error}" for status in alone)
        return Finding("Certificates", "warn", f"without one: {detail}", "docs/tls.md says where yours belong")
    soonest = min(status.days_left or 0 for status in found)
    return Finding("Certificates", "ok", f"{len(found)}, {soonest:.0f} days left at least")
