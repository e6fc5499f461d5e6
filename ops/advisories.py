"""Known vulnerabilities of the installed packages, asked from an advisory service that speaks OSV's interface.

The names and versions of all installed distributions go to ADVISORY_URL, then each advisory found is read for the
versions that mend it; see https://google.github.io/osv.dev/post-v1-querybatch/. `python -m ops.advisories` is
`make audit`: exit status 0 when nothing is known, 1 when something is or the service cannot be asked.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from importlib.metadata import distributions
from typing import Any, NamedTuple
from urllib.parse import quote

from common.settings import variable
from ops.visit import within

DEFAULT_URL = "https://api.osv.dev/v1/querybatch"
SECONDS_MAX = 10.0
_ECOSYSTEM = "PyPI"
_OWN = "gatehouse"
_PAGES_MAX = 20


class AuditImpossible(Exception):
    """The service did not answer as expected; the text says what it did."""


class Vulnerable(NamedTuple):
    """`advisories` are their ids, `fixed` the versions that mend them, as far as the service says."""

    package: str
    version: str
    advisories: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        mend = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no fixed version is known"
        return f"{self.package} {self.version}: {', '.join(self.advisories)} ({mend})"


def installed() -> dict[str, str]:
    """Distribution → version, of everything this interpreter can import; not ourselves."""
    found = {dist.metadata["Name"].lower().replace("_", "-"): dist.version for dist in distributions()}
    return {name: version for name, version in sorted(found.items()) if name != _OWN}


def audit(
    packages: Mapping[str, str], *, environ: Mapping[str, str] | None = None, seconds_max: float = SECONDS_MAX
) -> list[Vulnerable]:
    """What is known about `packages` (name → version). Raises AuditImpossible, after `seconds_max` at the latest."""
    url = variable("ADVISORY_URL", environ) or DEFAULT_URL
    deadline = time.monotonic() + seconds_max
    outcome = within(seconds_max, lambda: _audit(url, packages, deadline))
    if outcome is None:
        raise AuditImpossible(f"{url} did not answer within {seconds_max:g} s")
    if isinstance(outcome, AuditImpossible):
        raise outcome
    return outcome


def _audit(url: str, packages: Mapping[str, str], deadline: float) -> list[Vulnerable] | AuditImpossible:
    """The exception is handed over: it was raised in another thread."""
    try:
        ids = _ids(url, packages, deadline)
        wanted = sorted({advisory for found in ids.values() for advisory in found})
        base = url.rpartition("/")[0]
        with ThreadPoolExecutor(8) as pool:
            details = dict(zip(wanted, pool.map(lambda name: _detail(base, name, deadline), wanted), strict=True))
        return [
            found
            for name, advisories in ids.items()
            if (found := _vulnerable(name, packages[name], advisories, details))
        ]
    except (OSError, HTTPException) as error:
        return AuditImpossible(f"{url} cannot be asked: {_reason(error)}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return AuditImpossible(f"{url} does not answer as an advisory service does")


def _ids(url: str, packages: Mapping[str, str], deadline: float) -> dict[str, list[str]]:
    """Package → ids of its advisories; answers come in the order of the questions, and in pages."""
    found: dict[str, list[str]] = {}
    pages: dict[str, str] = dict.fromkeys(packages, "")
    for _ in range(_PAGES_MAX):
        queries = [_query(name, packages[name], token) for name, token in pages.items()]
        results = _ask(url, deadline, {"queries": queries})["results"]
        answers = list(zip(pages, results, strict=True))
        for name, answer in answers:
            found.setdefault(name, []).extend(vulnerability["id"] for vulnerability in answer.get("vulns", []))
        pages = {name: answer["next_page_token"] for name, answer in answers if answer.get("next_page_token")}
        if not pages:
            break
    return {name: list(dict.fromkeys(ids)) for name, ids in found.items() if ids}


def _query(name: str, version: str, token: str) -> dict[str, Any]:
    query: dict[str, Any] = {"package": {"name": name, "ecosystem": _ECOSYSTEM}, "version": version}
    return {**query, "page_token": token} if token else query


def _detail(base: str, advisory: str, deadline: float) -> dict[str, Any]:
    """Empty where it cannot be read: its id alone is worth telling."""
    try:
        detail: dict[str, Any] = _ask(f"{base}/vulns/{quote(advisory, safe='')}", deadline)
    except (OSError, HTTPException, ValueError):
        return {}
    return detail


def _vulnerable(
    name: str, version: str, advisories: Iterable[str], details: Mapping[str, dict[str, Any]]
) -> Vulnerable | None:
    """One problem has an id in each database: those that another one names as its alias are left out."""
    known: list[str] = []
    aliases: set[str] = set()
    fixed: set[str] = set()
    for advisory in advisories:
        detail = details[advisory]
        if advisory in aliases or detail.get("withdrawn"):
            continue
        known.append(advisory)
        aliases.update(detail.get("aliases", []))
        fixed.update(_fixed(name, detail))
    return Vulnerable(name, version, tuple(known), tuple(sorted(fixed, key=_order))) if known else None


def _fixed(name: str, detail: Mapping[str, Any]) -> Iterable[str]:
    for affected in detail.get("affected", []):
        package = affected.get("package", {})
        if package.get("ecosystem") == _ECOSYSTEM and package.get("name", "").lower().replace("_", "-") == name:
            for scope in affected.get("ranges", []):
                if scope.get("type") != "GIT":
                    yield from (event["fixed"] for event in scope.get("events", []) if "fixed" in event)


def _order(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in version.split(".")]


def _ask(url: str, deadline: float, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", "User-Agent": "gatehouse"})  # noqa: S310 - the administrator's own URL
    left = max(0.1, deadline - time.monotonic())
    with urllib.request.urlopen(request, timeout=left) as response:  # noqa: S310 - the same
        return json.load(response)


def _reason(error: OSError | HTTPException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"it answered {error.code}"
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason)


def main() -> int:
    packages = installed()
    try:
        found = audit(packages)
    except AuditImpossible as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for vulnerable in found:
        print(vulnerable)
    print(f"{len(packages)} packages, {len(found)} with known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
