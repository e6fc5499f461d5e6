"""The proxy in front of the edge that ends TLS: its configuration, where its program is installed."""

import re
from pathlib import Path

from ops import front
from ops.front import Front
from ops.setup.answers import Answers
from ops.setup.machine import Machine

_PROGRAMS = {"nginx": Path("/usr/sbin/nginx"), "caddy": Path("/usr/bin/caddy")}
_FILES = {"nginx": Path("/etc/nginx/conf.d/gatehouse.conf"), "caddy": Path("/etc/caddy/Caddyfile")}
# How the packages' own sites begin or what they contain: those may go, anybody else's may not.
_CADDY_DEFAULT = "Set this path to your site's directory."
_OURS = "# Gatehouse behind "
_NGINX_DEFAULT = Path("/etc/nginx/sites-enabled/default")
_CERTIFICATES = Path("/etc/letsencrypt/live")


def default_front(machine: Machine, *, is_first: bool) -> str:
    """The one set up before; the first time one that is installed, Caddy first, as it gets certificates itself."""
    ours = [name for name, path in _FILES.items() if _OURS in (machine.read(path) or "")]
    installed = [name for name in ("caddy", "nginx") if is_first and machine.has(_PROGRAMS[name])]
    return next(iter([*ours, *installed]), "none")


def front_fault(machine: Machine, answers: Answers) -> str | None:
    """Why the chosen front cannot be set up."""
    if answers.front == "none":
        return None
    if not machine.has(_PROGRAMS[answers.front]):
        return f"--front: {answers.front} is not installed: apt-get install {answers.front}"
    text = machine.read(_FILES[answers.front])
    if answers.front == "caddy" and text is not None and not _may_go(text):
        return f"--front: {_FILES['caddy']} serves something of yours: move it away, or say --front none"
    return None


def put_in_front(machine: Machine, answers: Answers) -> list[str]:
    """What was done. Raises StackError, also for a configuration that the front's own check refuses."""
    if answers.front == "none":
        return []
    path = _FILES[answers.front]
    before = machine.read(path)
    if not machine.write(path, _text(machine, answers)):
        return _running(machine, answers.front)
    done = [f"{path} written"]
    default = machine.at(_NGINX_DEFAULT)
    example = default.readlink() if default.is_symlink() else None
    try:
        done += _without_default(machine) if answers.front == "nginx" else []
        done += _brought_in(machine, answers.front)
    except BaseException:
        _put_back(machine, path, before)
        if example and not default.is_symlink():
            default.symlink_to(example)
        raise
    if answers.front == "nginx" and not _have_certificates(machine, answers):
        domains = " ".join(f"-d {host}" for host in answers.hosts if not host.startswith("*."))
        done.append(
            f"port 80 only, for the first certificate: certbot certonly --webroot -w /var/www/gatehouse {domains}, "
            "then `gatehouse setup --host` again"
        )
    return done


def _text(machine: Machine, answers: Answers) -> str:
    wanted = Front(
        domains=answers.hosts,
        upstream=f"127.0.0.1:{answers.port}",
        email=answers.email,
        certificates=str(_CERTIFICATES) if answers.front == "nginx" else "",
        nginx=_nginx_version(machine) if answers.front == "nginx" else (1, 22),
        ipv6=Path("/proc/net/if_inet6").exists(),
        challenge_only=answers.front == "nginx" and not _have_certificates(machine, answers),
    )
    return front.render(answers.front, wanted)


def _may_go(text: str) -> bool:
    return _OURS in text or _CADDY_DEFAULT in text


def _have_certificates(machine: Machine, answers: Answers) -> bool:
    folders = {front.certificate_name(host) for host in answers.hosts}
    return all(machine.has(_CERTIFICATES / folder / "fullchain.pem") for folder in folders)


def _nginx_version(machine: Machine) -> tuple[int, ...]:
    """nginx says it on standard error, which the shell brings."""
    said = machine.ask("sh", "-c", "nginx -v 2>&1") if machine.is_real else ""
    found = re.search(r"nginx/(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (1, 22)


def _without_default(machine: Machine) -> list[str]:
    """Debian's example site has the default servers of the ports, as ours has."""
    there = machine.at(_NGINX_DEFAULT)
    if not there.is_symlink():
        return []
    if not machine.only_shows:
        there.unlink()
    return [f"{_NGINX_DEFAULT} removed (sites-available keeps it)"]


def _brought_in(machine: Machine, name: str) -> list[str]:
    """Reloaded when its own check agrees."""
    check = (
        ("nginx", "-t", "-q")
        if name == "nginx"
        else ("caddy", "validate", "--adapter", "caddyfile", "--config", _FILES[name])
    )
    machine.run("mkdir", "-p", "/var/www/gatehouse")
    machine.run(*check)
    machine.run("systemctl", "enable", "--quiet", name)
    machine.run("systemctl", "reload-or-restart", name)
    return [f"{name} reloaded"]


def _put_back(machine: Machine, path: Path, before: str | None) -> None:
    """As it was, so that another run finds everything to do again."""
    if before is None:
        machine.at(path).unlink(missing_ok=True)
    else:
        machine.write(path, before)


def _running(machine: Machine, name: str) -> list[str]:
    """Started, where somebody or something has stopped it."""
    if not machine.is_real or machine.succeeds("systemctl", "is-active", "--quiet", name):
        return []
    machine.run("systemctl", "enable", "--now", "--quiet", name)
    return [f"{name} started"]
