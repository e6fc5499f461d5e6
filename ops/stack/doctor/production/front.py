"""HTTPS as clients meet it: certificates, redirects, protocol versions, headers, on every domain."""

import socket
import ssl
import warnings
from collections.abc import Callable, Iterator

from ops.stack.doctor import Finding
from ops.stack.doctor.production.host import CONNECT_SECONDS, Host, is_open
from ops.visit import Certificate, Visit, visit

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-xss-protection": "1; mode=block",
    "strict-transport-security": "max-age=",
    "referrer-policy": "no-referrer",
}


def check(host: Host) -> Iterator[Finding]:
    targets = {name: address for name in host.names if (address := _address(host, name))}
    if not targets:
        yield Finding("HTTPS", "skip", f"port {host.https_port} is open on no domain", "see DNS and ports above")
        return
    yield _certificates(host, targets)
    yield _redirects(host, targets)
    yield from _protocols(host, targets)
    yield _headers(host, targets)


def _address(host: Host, name: str) -> str | None:
    return next((address for address in host.resolve(name) if is_open(address, host.https_port)), None)


def _gathered(name: str, targets: dict[str, str], fault: Callable[[str, str], str], fix: str, ok: str) -> Finding:
    """One finding over all domains, naming each that is wrong."""
    faults = [f"{domain}: {said}" for domain, address in targets.items() if (said := fault(domain, address))]
    return Finding(name, "fail", "; ".join(faults), fix) if faults else Finding(name, "ok", ok)


def _ask(host: Host, name: str, address: str, *, path: str = "/health", scheme: str = "https") -> Visit:
    url = host.url(name, path=path, scheme=scheme)
    return visit(url, address=address, timeout=CONNECT_SECONDS, context=host.trust)


def _certificates(host: Host, targets: dict[str, str]) -> Finding:
    left: list[Certificate] = []

    def fault(name: str, address: str) -> str:
        found = _ask(host, name, address)
        if found.status != 200 or found.certificate is None:
            return found.problem or f"/health answers {found.status}"
        left.append(found.certificate)
        return f"expires in {found.certificate.left}" if found.certificate.is_due else ""

    fix = "renew it, and look at why that did not happen by itself (DNS, port 80, the proxy's log)"
    finding = _gathered("HTTPS", targets, fault, fix, "")
    if finding.state == "ok":
        soonest = min(left, key=lambda certificate: certificate.until)
        return finding._replace(detail=f"{', '.join(targets)}: valid certificates, {soonest.left} left at least")
    return finding


def _redirects(host: Host, targets: dict[str, str]) -> Finding:
    def fault(name: str, address: str) -> str:
        found = _ask(host, name, address, path="/health?x=y", scheme="http")
        wanted = host.url(name, path="/health?x=y")
        if found.status not in (301, 308):
            return found.problem or f"answers {found.status} over plain HTTP"
        return "" if found.headers.get("location") == wanted else f"leads to {found.headers.get('location')}"

    fix = "let the proxy answer port 80 with 301 to https, path and query kept"
    return _gathered("Redirect", targets, fault, fix, "plain HTTP leads to HTTPS with 301")


def _protocols(host: Host, targets: dict[str, str]) -> Iterator[Finding]:
    old = {name: shake_hands(host, name, address, oldest=True) for name, address in targets.items()}
    if refused := [name for name, version in old.items() if version]:
        detail = f"{', '.join(refused)} still speak TLS 1.1"
        yield Finding("TLS versions", "fail", detail, "offer TLS 1.2 and 1.3 only")
    elif not ssl.HAS_TLSv1_1:
        yield Finding("TLS versions", "skip", "this Python's OpenSSL cannot try TLS 1.1")
    else:
        versions = sorted({(shake_hands(host, n, a) or ("?", ""))[0] for n, a in targets.items()})
        yield Finding("TLS versions", "ok", f"TLS 1.1 refused, {', '.join(versions)} spoken")
    without = [name for name, address in targets.items() if (shake_hands(host, name, address) or ("", ""))[1] != "h2"]
    if without:
        yield Finding("HTTP/2", "warn", f"not offered by {', '.join(without)}", "switch it on in the proxy in front")
    else:
        yield Finding("HTTP/2", "ok", "offered")


def shake_hands(host: Host, name: str, address: str, *, oldest: bool = False) -> tuple[str, str] | None:
    """TLS version and application protocol agreed on; None when the peer refuses. `oldest` offers TLS 1.1 alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # certificates are judged above
    context.set_alpn_protocols(["h2", "http/1.1"])
    if oldest:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is what we are here for
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    try:
        with (
            socket.create_connection((address, host.https_port), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name) as closed,
        ):
            return closed.version() or "", closed.selected_alpn_protocol() or ""
    except OSError:
        return None


def _headers(host: Host, targets: dict[str, str]) -> Finding:
    def fault(name: str, address: str) -> str:
        answers = [_ask(host, name, address, path=path) for path in ("/health", "/api/v1/no-such-path")]
        return "; ".join(f"{found.status} lacks {', '.join(lacking(found))}" for found in answers if lacking(found))

    fix = "do not remove the edge's headers in the proxy, and add them to its own error pages (`always` in nginx)"
    return _gathered("Headers", targets, fault, fix, "the five security headers on 2xx and 4xx answers")


def lacking(found: Visit) -> list[str]:
    """The security headers that are not there as they should be."""
    return [name for name, value in HEADERS.items() if not found.headers.get(name, "").startswith(value)]
