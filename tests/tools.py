"""Programs of the machine that some tests run for real: nginx, systemd-analyze, pgbouncer and the like."""

import os
import shutil
from typing import Final

import pytest

# Each program with the Debian package that brings it. `.ci/tools` installs them, so REQUIRE_TOOLS=1 may demand them.
PACKAGES: Final = {
    "ab": "apache2-utils",
    "age": "age",
    "age-keygen": "age",
    "caddy": "caddy",
    "fail2ban-client": "fail2ban",
    "fail2ban-regex": "fail2ban",
    "fail2ban-server": "fail2ban",
    "haproxy": "haproxy",
    "htpasswd": "apache2-utils",
    "ip": "iproute2",
    "journalctl": "systemd",
    "logrotate": "logrotate",
    "nft": "nftables",
    "nginx": "nginx-light",
    "node": "nodejs",
    "pebble": "pebble",
    "pebble-challtestsrv": "pebble",
    "pgbouncer": "pgbouncer",
    "redis-server": "redis-server",
    "shellcheck": "shellcheck",
    "ss": "iproute2",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
    "ufw": "ufw",
}
# What a CI machine need not have: their tests skip wherever they are absent.
OPTIONAL: Final = {"docker": "docker.io"}

# Several of them are for root, and stand where an ordinary user's PATH does not look.
FOLDERS: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def tool(name: str) -> str:
    """The path of a program. Absent, the test skips, or fails under `REQUIRE_TOOLS=1`, and says what to install.

    Usable at the top of a module too; then it stands for all of the module's tests.
    """
    package = {**PACKAGES, **OPTIONAL}.get(name)
    if package is None:
        pytest.fail(
            f"tests/tools.py does not know {name}: add it and its package there and to .ci/tools", pytrace=False
        )
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *FOLDERS)))
    if path is not None:
        return path
    sentence = f"{name} is not installed: apt-get install {package}"
    if name in PACKAGES and os.environ.get("REQUIRE_TOOLS") == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence, allow_module_level=True)
