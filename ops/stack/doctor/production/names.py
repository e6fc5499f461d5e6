"""Names and ports: what a certificate authority will look at before it issues anything."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ops.stack.doctor import Finding
from ops.stack.doctor.production.host import Host, is_open


def check(host: Host) -> Iterator[Finding]:
    if not host.domains:
        yield Finding("DNS", "fail", "no domain is set", "set DOMAINS to the hosts that are served here")
        return
    found = {name: list(host.resolve(name)) for name in host.names}
    yield _dns(host, found)
    for port in (host.http_port, host.https_port):
        yield _port(host, found, port)


def ours(host: Host) -> set[str]:
    """This machine's addresses as the world sees them: its own, or PUBLIC_ADDRESS behind NAT or a load balancer."""
    public = {address.strip() for address in host.variable("PUBLIC_ADDRESS").split(",") if address.strip()}
    return public or set(host.own)


def _dns(host: Host, found: dict[str, list[str]]) -> Finding:
    here = ours(host)
    faults = [fault for name, addresses in found.items() if (fault := _fault(name, addresses, here))]
    if faults:
        shown = ", ".join(sorted(here)) or "no address but loopback"
        return Finding(
            "DNS",
            "fail",
            f"{'; '.join(faults)} (this machine: {shown})",
            "point the A and AAAA records here; behind NAT or a load balancer set PUBLIC_ADDRESS to its addresses",
        )
    return Finding("DNS", "ok", f"{', '.join(found)} resolve here")


def _fault(name: str, addresses: list[str], here: set[str]) -> str:
    if not addresses:
        return f"{name} does not resolve"
    # One record that leads elsewhere (an AAAA forgotten, mostly) is enough for the authority to look there.
    if elsewhere := [address for address in addresses if address not in here]:
        return f"{name} resolves to {', '.join(elsewhere)}, not here"
    return ""


def _port(host: Host, found: dict[str, list[str]], port: int) -> Finding:
    name = f"Port {port}"
    targets = list(dict.fromkeys(address for addresses in found.values() for address in addresses)) or sorted(
        ours(host)
    )
    with ThreadPoolExecutor() as pool:  # what drops packets takes seconds each
        answers = zip(targets, pool.map(lambda address: is_open(address, port), targets), strict=True)
        closed = [address for address, opened in answers if not opened]
    if targets and not closed:
        return Finding(name, "ok", f"open on {', '.join(targets)}, as seen from here")
    listens = any(is_open(address, port) for address in ("127.0.0.1", "::1", *host.own))
    if not listens:
        return Finding(name, "fail", f"port {port} is closed: nothing listens on it", _START)
    return Finding(
        name,
        "fail",
        f"port {port} is closed on {', '.join(closed) or 'the public address'}, though something listens here",
        f"allow tcp {port} in the firewall and forward it to this machine; a router without hairpin NAT needs a look "
        "from another network",
    )


_START = "start the proxy in front (nginx, Caddy or Traefik); certificates by HTTP-01 need port 80"
