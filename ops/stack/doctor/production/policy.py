"""Settings that production can start without, and should not."""

import os
from collections.abc import Iterator
from pathlib import Path

from ops.certificates import edge_settings
from ops.stack.doctor import Finding
from ops.stack.doctor.production.exposure import is_loopback
from ops.stack.doctor.production.host import Host
from ops.stack.errors import StackError

_WORKERS = ("EDGE_WORKERS", "AUTH_WORKERS", "CORE_WORKERS")


def check(host: Host) -> Iterator[Finding]:
    yield _environment(host)
    yield _public_url(host)
    yield _proxies(host)
    yield _alerts(host)
    yield _acme(host)
    yield _level(host)
    yield workers(host, os.cpu_count() or 1)


def _environment(host: Host) -> Finding:
    if host.env == "production":
        return Finding("ENV", "ok", "production")
    return Finding("ENV", "fail", host.env or "not set, so development", "set ENV=production")


def _public_url(host: Host) -> Finding:
    url = host.variable("PUBLIC_URL")
    if not url:
        return Finding("PUBLIC_URL", "warn", "not set", "set it to what clients use, as in https://api.example.com")
    if not url.startswith("https://"):
        return Finding("PUBLIC_URL", "fail", f"{url} is not https", "serve and name the API over https")
    name = url.removeprefix("https://").partition("/")[0].partition(":")[0].lower()
    if name not in host.domains and f"*.{name.partition('.')[2]}" not in host.domains:
        return Finding("PUBLIC_URL", "fail", f"{name} is not among DOMAINS", "add it there, or correct PUBLIC_URL")
    return Finding("PUBLIC_URL", "ok", url)


def _proxies(host: Host) -> Finding:
    trusted = host.variable("TRUSTED_PROXIES")
    if "0.0.0.0/0" in trusted or "::/0" in trusted:
        detail = "everybody is trusted, so anybody can claim any address"
        return Finding("Proxies", "fail", detail, "list the proxies' own addresses in TRUSTED_PROXIES")
    # One that ends TLS itself may listen elsewhere than EDGE_HOST says: on sockets of systemd's.
    if is_loopback(host.variable("EDGE_HOST", "API_HOST") or "127.0.0.1") and not trusted and not _ends_tls(host):
        return Finding(
            "Proxies",
            "fail",
            "the edge is behind a proxy on this machine and does not trust it: all clients count as one address",
            "set TRUSTED_PROXIES=127.0.0.1/32,::1/128",
        )
    return Finding("Proxies", "ok", trusted or "none; the edge meets clients itself")


def _ends_tls(host: Host) -> bool:
    try:
        return edge_settings(host.configuration).ends_tls
    except StackError:
        return False


def _alerts(host: Host) -> Finding:
    hook = host.variable("ALERT_HOOK")
    if not hook:
        fix = "set it to a program or URL, and try it with `gatehouse alert Test`"
        return Finding("Alerts", "fail", "ALERT_HOOK is not set: nobody is told when something fails", fix)
    is_program = Path(hook).is_file() and os.access(hook, os.X_OK)
    if not hook.lower().startswith(("http://", "https://")) and not is_program:
        return Finding("Alerts", "fail", f"{hook} cannot be run", f"chmod 755 {hook}, or correct ALERT_HOOK")
    return Finding("Alerts", "ok", "a hook is set; `gatehouse alert Test` tries it")


def _acme(host: Host) -> Finding:
    email = host.variable("LETSENCRYPT_EMAIL")
    local, _, domain = email.partition("@")
    if not email:
        fix = "set LETSENCRYPT_EMAIL, and give it to the proxy that gets the certificates"
        return Finding("ACME e-mail", "warn", "not set: nobody is reached about a certificate", fix)
    if not local or "." not in domain:
        return Finding("ACME e-mail", "fail", f"{email} is no address", "correct LETSENCRYPT_EMAIL")
    return Finding("ACME e-mail", "ok", email)


def _level(host: Host) -> Finding:
    if host.variable("LOG_LEVEL") == "DEBUG":
        return Finding("Log level", "warn", "DEBUG says much of every request", "set LOG_LEVEL=INFO")
    return Finding("Log level", "ok", host.variable("LOG_LEVEL") or "INFO")


def workers(host: Host, cores: int) -> Finding:
    """More workers than cores take turns; one edge worker leaves the other cores idle."""
    counts = {name: host.port(1, name) for name in _WORKERS}
    shown = ", ".join(f"{name}={count}" for name, count in counts.items())
    if many := [name for name, count in counts.items() if count > cores]:
        return Finding("Workers", "warn", f"{shown} on {cores} cores", f"lower {', '.join(many)} to {cores} or fewer")
    if counts["EDGE_WORKERS"] == 1 and cores >= 2:
        return Finding("Workers", "warn", f"{shown} on {cores} cores", f"raise EDGE_WORKERS (up to {cores})")
    return Finding("Workers", "ok", f"{shown} on {cores} cores")
