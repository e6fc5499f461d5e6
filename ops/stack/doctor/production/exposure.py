"""What can be reached, and what it answers to somebody without a credential."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from ops.probe.target import edge_url
from ops.stack.doctor import Finding
from ops.stack.doctor.production.front import lacking
from ops.stack.doctor.production.host import CONNECT_SECONDS, Host, is_open
from ops.stack.probe import unhealthy
from ops.visit import Visit, visit

STRANGER = "gatehouse-check.invalid"
_OUTSIDE_SECONDS = 1.0
_NOT_RUNNING = "not running; start the stack and ask again"


def check(host: Host) -> Iterator[Finding]:
    yield _service_ports(host)
    edge = _edge(host, "/health/ready")
    yield _ready(edge)
    yield from _service_keys(host)
    if edge.status == 0:
        return
    yield _unknown_host(host)
    yield _limits(host)
    yield _cors(host)
    yield _errors(host)


def ports(host: Host) -> dict[str, int]:
    """What belongs on loopback, by name; servers on other machines are theirs to protect."""
    found = {"auth": host.port(8081, "AUTH_PORT"), "core": host.port(8082, "CORE_PORT")}
    if is_loopback(host.variable("EDGE_HOST", "API_HOST") or "127.0.0.1"):
        found["edge"] = host.port(8080, "EDGE_PORT", "PORT", "API_PORT")
    for name, url, default in (("PostgreSQL", "DATABASE_URL", 5432), ("Redis", "REDIS_URL", 6379)):
        parts = _parts(host.variable(url))
        if parts is None or is_loopback(parts[0]):
            found[name] = parts[1] if parts and parts[1] else default
    return found


def is_loopback(name: str) -> bool:
    return name in ("", "localhost", "::1") or name.startswith(("127.", "/"))


def _parts(url: str) -> tuple[str, int | None] | None:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "", parts.port) if url else None
    except ValueError:
        return None


def _service_ports(host: Host) -> Finding:
    exposed = [
        f"{name} on {f'[{address}]' if ':' in address else address}:{port}"
        for name, port in ports(host).items()
        for address in sorted(host.own)
        if is_open(address, port, _OUTSIDE_SECONDS)
    ]
    if exposed:
        return Finding(
            "Service ports",
            "fail",
            f"not on loopback alone: {', '.join(exposed)}",
            "bind them to 127.0.0.1 (AUTH_HOST, CORE_HOST, listen_addresses, bind) and deny the ports in the firewall",
        )
    if not host.own:
        return Finding("Service ports", "skip", "this machine has no address but loopback")
    seen = [name for name, port in ports(host).items() if any(is_open(here, port) for here in ("127.0.0.1", "::1"))]
    if not seen:
        return Finding("Service ports", "skip", _NOT_RUNNING)
    return Finding("Service ports", "ok", f"{', '.join(seen)} answer on loopback alone")


def _edge(host: Host, path: str, **headers: str) -> Visit:
    """Past the proxy in front, under a name that is served."""
    name = host.names[0] if host.names else "localhost"
    given = {"Host": name, **headers}
    return visit(edge_url(host.configuration.environ) + path, timeout=CONNECT_SECONDS, headers=given)


def _ready(edge: Visit) -> Finding:
    if edge.status == 0:
        return Finding("Readiness", "skip", _NOT_RUNNING)
    away = ", ".join(unhealthy(edge.fields))
    if edge.status != 200:
        fix = "`gatehouse logs` (or journalctl -u 'gatehouse-*') shows what they say"
        return Finding("Readiness", "fail", f"{edge.status}: {away or 'no reason given'}", fix)
    if away:
        return Finding("Readiness", "warn", f"degraded: {away} does not answer", "see the store and database below")
    return Finding("Readiness", "ok", f"/health/ready answers 200 in {edge.milliseconds} ms")


def _service_keys(host: Host) -> Iterator[Finding]:
    for name, default, path in (("auth", 8081, "/internal/revocations"), ("core", 8082, "/api/v1/categories")):
        variable = name.upper()
        base = host.variable(f"{variable}_URL") or f"http://127.0.0.1:{host.port(default, f'{variable}_PORT')}"
        found = visit(base.rstrip("/") + path, timeout=CONNECT_SECONDS)
        title = f"Key of {name}"
        if found.status == 0:
            yield Finding(title, "skip", _NOT_RUNNING)
        elif found.status == 401:
            yield Finding(title, "ok", "a call without the service key is 401")
        else:
            fix = f"make sure that {base} is the {name} service and not something else"
            yield Finding(title, "fail", f"a call without the service key is {found.status}", fix)


def _unknown_host(host: Host) -> Finding:
    found = _edge(host, "/api/v1/me", Host=STRANGER)
    if found.status == 421:
        return Finding("Unknown host", "ok", "421")
    return Finding("Unknown host", "fail", f"answered {found.status}, not 421", "set DOMAINS to the hosts served")


def _limits(host: Host) -> Finding:
    found = _edge(host, "/api/v1/me")
    if found.headers.get("x-ratelimit-limit"):
        return Finding("Rate limits", "ok", f"counted: {found.headers['x-ratelimit-limit']} in the general class")
    return Finding("Rate limits", "fail", "answers carry no X-RateLimit-Limit", "give the routes their `limits` again")


def _cors(host: Host) -> Finding:
    found = _edge(host, "/api/v1/me", Origin=f"https://{STRANGER}")
    if found.status == 0:
        return Finding("CORS", "skip", found.problem)
    if "*" in host.variable("ALLOWED_ORIGINS") or found.headers.get("access-control-allow-origin"):
        return Finding("CORS", "fail", "any origin's pages may call", "list the origins in ALLOWED_ORIGINS")
    return Finding("CORS", "ok", "a foreign origin is not allowed")


def _errors(host: Host) -> Finding:
    """Nothing that a stranger sends may end in a 500, and errors carry the headers too."""
    answers = [
        _edge(host, path) for path in ("/api/v1/'%20OR%201=1--", "/%2e%2e/%2e%2e/etc/passwd", "/api/v1/<script>")
    ]
    wrong = [f"{found.status}" for found in answers if not 400 <= found.status < 500]
    bare = [f"{found.status} lacks {', '.join(lacking(found))}" for found in answers if lacking(found)]
    if wrong or bare:
        return Finding("Hostile paths", "fail", "; ".join(wrong + bare), "look for these requests in the edge's log")
    return Finding("Hostile paths", "ok", "refused with 4xx and all security headers")
