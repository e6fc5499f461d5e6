"""Known vulnerabilities of what is installed."""

from collections.abc import Iterator

from ops.advisories import AuditImpossible, audit, installed
from ops.stack.doctor import Finding
from ops.stack.doctor.production.host import Host


def check(host: Host) -> Iterator[Finding]:
    packages = installed()
    try:
        found = audit(packages, environ=host.configuration.environ)
    except AuditImpossible as error:
        yield Finding(
            "Vulnerabilities", "skip", str(error), "allow it, set ADVISORY_URL, or run `make audit` elsewhere"
        )
        return
    if found:
        yield Finding("Vulnerabilities", "fail", "; ".join(map(str, found)), "upgrade to a release with newer packages")
    else:
        yield Finding("Vulnerabilities", "ok", f"none known in {len(packages)} packages")
