"""Where everything is on a host."""

from pathlib import Path

USER = "gatehouse"
VAR = Path("/var/lib/gatehouse")
ETC = Path("/etc/gatehouse")
ENV_FILE = ETC / "gatehouse.env"
ROUTES = ETC / "routes.toml"
HOME = Path("/opt/gatehouse")
CURRENT = HOME / "current"
WRAPPER = Path("/usr/local/bin/gatehouse")
UNITS = Path("/etc/systemd/system")
# Below VAR.
FOLDERS = ("secrets", "logs", "run", "certs", "backups")
# What a service may not read under ProtectHome=yes: nothing that it runs from may be there.
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
