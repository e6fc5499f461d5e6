"""What the machine of the check finds around it, so that no line of the document has to be changed.

A second container is the internet: under Let's Encrypt's name it runs pebble, an authority for tests that comes and
looks at port 80 as the real one does, and it is where clients call from. The document's repository is this checkout:
git is told to look at a copy of it in place of the URL.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.docker.compose import ROOT
from ops.host.container import SYSTEMD, Container

DOMAIN = "api.example.com"
REPOSITORY = "https://git.example.com/gatehouse.git"
_AUTHORITY = "acme-v02.api.letsencrypt.org"
_COPY = "/srv/gatehouse.git"
_ANCHORS = "/usr/local/share/ca-certificates"
# In some engines' containers a service cannot have user namespaces beside a /proc of its own. Ours and Debian's Redis
# ask for both; the check then goes without the first, and says so.
_BOOTED = """
systemctl is-system-running --wait || systemctl --failed --no-legend
if ! systemd-run --quiet --wait -p User=daemon -p PrivateUsers=yes -p ProtectProc=invisible true; then
    echo "without PrivateUsers=, which this engine's containers cannot have"
    mkdir -p /etc/systemd/system/service.d
    printf '[Service]\\nPrivateUsers=no\\n' > /etc/systemd/system/service.d/zz-no-user-namespaces.conf
    systemctl daemon-reload
fi
"""
_WAIT_FOR_INTERNET = "for _ in $(seq 60); do curl -fsk https://127.0.0.1:15000/roots/0 && break; sleep 1; done"


@contextmanager
def surrounded(
    name: str, own_authorities: Path | None, *, keeps: bool = False
) -> Iterator[tuple[Container, Container]]:
    """The machine and its internet. `own_authorities` is a bundle that package indexes are checked with, too."""
    with Container(f"{name}-internet", "gatehouse-host-internet", keeps=keeps) as internet:
        options = (*SYSTEMD, "--add-host", f"{_AUTHORITY}:{internet.address}", "--hostname", "gatehouse-host")
        with Container(f"{name}-machine", "gatehouse-host-machine", options, keeps=keeps) as machine:
            _trust(machine, internet, own_authorities)
            for one in (internet, machine):
                one.sh(f"echo '{machine.address} {DOMAIN}' >> /etc/hosts")
            print(machine.sh(_BOOTED), end="", flush=True)
            yield machine, internet


def authorities(internet: Container) -> str:
    """What a client has to trust to believe the machine's certificate."""
    return internet.sh("curl -fsk https://127.0.0.1:15000/roots/0")


class Repository:
    """The document's repository: a snapshot of this checkout, and a newer version on top of it when asked for.

    Taken once, so that somebody may go on working in the checkout.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tree = folder / "tree"
        for name in _git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
            if name and (ROOT / name).is_file():
                (self._tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self._tree / name)
        _git(self._tree, "init", "--quiet", "--initial-branch=main")
        _commit(self._tree, "as it is")

    def publish(self, machine: Container, version: str | None = None) -> None:
        """Puts it where git on the machine looks for it."""
        if version:
            settings = self._tree / "pyproject.toml"
            settings.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', settings.read_text()))
            _commit(self._tree, version)
        bare = self._folder / "gatehouse.git"
        shutil.rmtree(bare, ignore_errors=True)
        _git(self._folder, "clone", "--quiet", "--bare", str(self._tree), str(bare))
        machine.sh(f"rm -rf {_COPY}")
        machine.copy(bare, _COPY)
        instead = f'[url "file://{_COPY}"]\\n\\tinsteadOf = {REPOSITORY}\\n'
        machine.sh(f"chown -R root:root {_COPY}\nprintf '{instead}' > /etc/gitconfig")


def _commit(tree: Path, message: str) -> None:
    _git(tree, "add", "--all")
    who = ("-c", "user.name=check", "-c", "user.email=check@example.com")
    _git(tree, *who, "commit", "--quiet", "--message", message)


def _git(where: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=where, check=True, capture_output=True, text=True).stdout


def _trust(machine: Container, internet: Container, own_authorities: Path | None) -> None:
    """As if the authorities of the check were among those that Debian brings."""
    internet.sh(_WAIT_FOR_INTERNET)
    front = internet.sh("cat /data/caddy/pki/authorities/local/root.crt")
    for name, text in (("front", front), ("authority", authorities(internet))):
        machine.sh(f"cat > {_ANCHORS}/{name}.crt <<'END'\n{text}\nEND")
    if own_authorities:
        machine.copy(own_authorities, "/etc/ssl/own.pem")
        machine.sh("printf '[global]\\ncert = /etc/ssl/own.pem\\n' > /etc/pip.conf")
    machine.sh("update-ca-certificates --fresh >/dev/null 2>&1")
