"""`python -m ops.host.check`: follows DEPLOYMENT.md and the runbook, block by block, on a fresh Debian machine.

Every block that is marked `sh host-check SECTION` is typed as it stands, in order, by root. Nothing is substituted: the
machine finds a Let's Encrypt, a repository and a caller of its own around it (`ops/host/surroundings.py`). After each
section a client outside of the machine looks whether the section has brought what it promises.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ops.docker.checking import CheckFailed, require, told
from ops.docker.compose import ROOT
from ops.docker.journey import TRAVELLER, JourneyFailed, Traces, look_again, travel
from ops.host import units
from ops.host.container import Container, ContainerError, build
from ops.host.document import Block, to_run
from ops.host.outside import Outside, constantly
from ops.host.surroundings import DOMAIN, Repository, surrounded

RUNNER = "host-check"
DOCUMENTS = (ROOT / "DEPLOYMENT.md", ROOT / "docs" / "runbook.md")
NEXT_VERSION = "99.0.0"
_BLOCK_SECONDS = 600.0
_READY_SECONDS = 60.0
_LINES_SHOWN = 40
_SIGN_IN = f"""
curl --fail --silent --show-error https://{DOMAIN}/api/v1/auth/login \\
  --json '{json.dumps(TRAVELLER)}'
"""
# More than the jail lets pass.
_GUESSES = 12
# Sections that a client must not notice.
_UNNOTICED = ("reload", "upgrade", "rehearse", "rollback")
# Nothing but SSH and the front may be reached; these are what else listens on the machine.
_CLOSED_PORTS = (5432, 6379, 8080, 8081, 8082)
# Everything of ours, and the database: what a fire leaves.
_FIRE = """
rm -rf /root/backups && cp -r /var/lib/gatehouse/backups /root/backups
systemctl stop 'gatehouse*'
rm -rf /opt/gatehouse /etc/gatehouse /var/lib/gatehouse /etc/systemd/system/gatehouse* /usr/local/bin/gatehouse \
  /usr/local/src/gatehouse
systemctl daemon-reload
cd /
runuser -u postgres -- dropdb --force gatehouse
for role in core auth owner; do runuser -u postgres -- dropuser gatehouse_$role; done
"""


class Check:
    """What is looked at around each section of the document."""

    def __init__(self, machine: Container, outside: Outside, repository: Repository) -> None:
        self._machine = machine
        self._outside = outside
        self._repository = repository
        self._blocks = [(document, block) for document in DOCUMENTS for block in to_run(document, RUNNER)]
        self._traces: Traces | None = None
        self._token = ""
        self._version = ""
        self.before: dict[str, Callable[[], None]] = {
            "upgrade": self._publish_next,
            "disaster": self._burn,
            "rotate-secret-key": self._sign_in,
        }
        self.after: dict[str, Callable[[], None]] = {
            "install": self._is_served,
            "ready": self._units_hold,
            "close": self._is_closed,
            "upgrade": self._runs_next,
            "rollback": self._runs_first,
            "disaster": self._all_is_back,
            "rotate-service-keys": self._still_there,
            "rotate-secret-key": self._all_signed_out,
            "rotate-database-passwords": self._still_there,
        }

    def run(self, until: str | None) -> None:
        """Every section of the document, or those up to one of them. A section that is looked at must be there."""
        names = list(dict.fromkeys(section(document, block) for document, block in self._blocks))
        missing = (self.before.keys() | self.after.keys() | {until or names[-1]}) - set(names)
        require(not missing, f"no document has a block for {', '.join(sorted(missing))}")
        for name in names[: names.index(until or names[-1]) + 1]:
            self.before.get(name, lambda: None)()
            key = self._traces.api_key if self._traces and name in _UNNOTICED else ""
            with constantly(self._outside, key) as failures:
                self._type(name)
            require(not failures, f"during {name}, {len(failures)} requests failed: {failures[:3]}")
            if name in self.after:
                with told(f"{name}: seen from outside"):
                    self.after[name]()

    def _type(self, name: str) -> None:
        """The blocks of a section, as they stand."""
        for document, block in (one for one in self._blocks if section(*one) == name):
            where = f"{document.name}:{block.line}"
            with told(f"{name}: {where}"):
                try:
                    said = self._machine.sh(block.text, seconds=_BLOCK_SECONDS)
                except ContainerError as error:
                    raise CheckFailed(f"{where}\n{block.text}\n{error}") from None
            print("".join(f"    {line}\n" for line in said.strip().splitlines()[-_LINES_SHOWN:]), end="", flush=True)

    def _is_served(self) -> None:
        self._outside.wait_ready(_READY_SECONDS)
        self._traces = travel(self._outside)
        redirect = self._outside.curl("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", f"http://{DOMAIN}/x?y=1")
        require(redirect == f"301 https://{DOMAIN}/x?y=1", f"http:// is answered {redirect}")
        version = self._outside.curl("-o", "/dev/null", "-w", "%{http_version}", f"https://{DOMAIN}/health")
        require(version == "2", f"HTTP/{version} over TLS, not 2")
        require(not self._outside.accepts_tls("1.1"), "TLS 1.1 is accepted")
        self._version = self._current()

    def _units_hold(self) -> None:
        print(flush=True)
        for seen in units.look(self._machine):
            print(f"    {seen}", flush=True)

    def _is_closed(self) -> None:
        reachable = [port for port in _CLOSED_PORTS if self._outside.reaches(port)]
        require(not reachable, f"reachable from outside: {reachable}")
        self._outside.guess(_GUESSES)
        deadline = time.monotonic() + _READY_SECONDS
        while self._outside.reaches(443):
            require(time.monotonic() < deadline, f"{_GUESSES} wrong passwords, and the address is not banned")
            time.sleep(1)
        self._machine.sh("fail2ban-client unban --all")
        self._outside.wait_ready(_READY_SECONDS)

    def _publish_next(self) -> None:
        self._repository.publish(self._machine, NEXT_VERSION)

    def _runs_next(self) -> None:
        require(self._current() == NEXT_VERSION, f"{self._current()} runs, not {NEXT_VERSION}")
        self._still_there()

    def _runs_first(self) -> None:
        require(self._current() == self._version, f"{self._current()} runs, not {self._version}")
        self._still_there()

    def _burn(self) -> None:
        """Leaves what was kept elsewhere, and a machine on which everything has been done anew."""
        with told("disaster: everything of ours is deleted"):
            self._machine.sh(_FIRE)
        self._type("install")

    def _still_there(self) -> None:
        self._outside.wait_ready(_READY_SECONDS)
        assert self._traces is not None
        look_again(self._outside, self._traces)

    def _all_is_back(self) -> None:
        self._still_there()
        self._sign_in()

    def _sign_in(self) -> None:
        """From the machine's own address: the one outside has used up its attempts with guessing."""
        self._token = json.loads(self._machine.sh(_SIGN_IN))["data"]["accessToken"]

    def _all_signed_out(self) -> None:
        self._still_there()
        self._outside.call("GET", "/api/v1/me", authorization=f"Bearer {self._token}", expected=401)
        self._sign_in()

    def _current(self) -> str:
        return self._machine.sh("basename $(readlink -f /opt/gatehouse/current)").strip()


def section(document: Path, block: Block) -> str:
    require(len(block.words) == 2, f"{document.name}:{block.line}: `sh {RUNNER}` wants one section behind it")
    return block.words[1]


def main() -> int:
    """0 when the document holds, 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="debian:12", help="the image of a bare Debian")
    parser.add_argument("--authorities", type=Path, help="a bundle to check package indexes with, behind a proxy")
    parser.add_argument("--until", help="stop after this section")
    parser.add_argument("--keep", action="store_true", help="leave the containers, to look around in them")
    given = parser.parse_args()
    try:
        with told("build a machine and its internet"):
            build("internet", "gatehouse-host-internet", given.base)
            build("machine", "gatehouse-host-machine", given.base)
        with (
            tempfile.TemporaryDirectory() as folder,
            surrounded("gatehouse-host", given.authorities, keeps=given.keep) as (machine, internet),
        ):
            repository = Repository(Path(folder))
            repository.publish(machine)
            Check(machine, Outside(internet), repository).run(given.until)
    except (ContainerError, CheckFailed, JourneyFailed, units.UnitsFailed) as error:
        print(f"failed\nhost-check: {error}", file=sys.stderr)
        return 1
    print("host-check: the document holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
