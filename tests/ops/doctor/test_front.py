"""HTTPS is judged by what real servers do: certificates, redirects, old protocols, headers."""

import ssl
import warnings
from pathlib import Path

import pytest

from ops.stack.doctor import Finding
from ops.stack.doctor.production import front
from ops.stack.doctor.production.host import Host
from tests.ops.site import Authority, Site, serving

HERE = "127.0.0.1"
SECURE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "1; mode=block",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Referrer-Policy": "no-referrer",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


class Redirecting(Site):
    """A proxy's port 80."""

    location = "https://{host}{path}"

    def answer(self, path: str, host: str) -> tuple[int, dict[str, str], bytes]:
        return 301, {"Location": self.location.format(host=host.partition(":")[0], path=path)}, b""


class Secure(Site):
    def answer(self, path: str, host: str) -> tuple[int, dict[str, str], bytes]:
        return (200 if path.startswith("/health") else 404), self.headers, b"{}"


def examine(
    authority: Authority,
    certificate: Path,
    *,
    redirect: str = "https://{host}:PORT{path}",
    headers: dict[str, str] = SECURE,
) -> dict[str, Finding]:
    plain, closed = Redirecting(), Secure()
    closed.headers = headers
    with serving(closed, certificate=certificate), serving(plain):
        plain.location = redirect.replace("PORT", str(closed.port))
        made = Host.here({"GATEHOUSE_ENV_FILE": "/nonexistent", "DOMAINS": "a.test,b.test"})
        host = Host(
            made.configuration,
            resolve=lambda _: [HERE],
            http_port=plain.port,
            https_port=closed.port,
            trust=authority.client(),
        )
        return {finding.name: finding for finding in front.check(host)}


def test_a_front_as_it_should_be_passes(authority: Authority) -> None:
    findings = examine(authority, authority.issue("a.test", "b.test", days=60))
    states = {name: finding.state for name, finding in findings.items()}
    # Our test server speaks HTTP/1.1 only.
    assert states == {"HTTPS": "ok", "Redirect": "ok", "TLS versions": "ok", "HTTP/2": "warn", "Headers": "ok"}
    assert "60 days left at least" in findings["HTTPS"].detail
    assert findings["TLS versions"].detail == "TLS 1.1 refused, TLSv1.3 spoken"


def test_a_certificate_without_one_of_the_names_is_told(authority: Authority) -> None:
    finding = examine(authority, authority.issue("a.test"))["HTTPS"]
    assert finding.state == "fail"
    assert "b.test: the certificate is not valid" in finding.detail
    assert "a.test: the" not in finding.detail


@pytest.mark.parametrize(
    ("days", "said"), [(9, "a.test: expires in 9 days"), (-2, "a.test: the certificate is not valid")]
)
def test_an_old_certificate_is_told(authority: Authority, days: int, said: str) -> None:
    assert said in examine(authority, authority.issue("a.test", "b.test", days=days))["HTTPS"].detail


@pytest.mark.parametrize(
    "location", ["https://{host}:PORT/", "http://{host}:PORT{path}", "https://www.{host}:PORT{path}"]
)
def test_a_redirect_that_loses_something_is_told(authority: Authority, location: str) -> None:
    finding = examine(authority, authority.issue("a.test", "b.test"), redirect=location)["Redirect"]
    assert (finding.state, "a.test: leads to" in finding.detail) == ("fail", True)


@pytest.mark.parametrize("missing", sorted(SECURE))
def test_each_missing_header_is_named(authority: Authority, missing: str) -> None:
    headers = {name: value for name, value in SECURE.items() if name != missing}
    finding = examine(authority, authority.issue("a.test", "b.test"), headers=headers)["Headers"]
    assert finding.state == "fail"
    assert f"200 lacks {missing.lower()}; 404 lacks {missing.lower()}" in finding.detail


def test_tls_1_1_is_seen_where_it_is_spoken(authority: Authority) -> None:
    if not ssl.HAS_TLSv1_1:
        pytest.skip("this OpenSSL has no TLS 1.1")
    certificate = authority.issue("a.test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with serving(Site(), certificate=certificate, oldest=ssl.TLSVersion.TLSv1_1) as old:
            host = Host(Host.here({"GATEHOUSE_ENV_FILE": "/nonexistent"}).configuration, https_port=old.port)
            agreed = front.shake_hands(host, "a.test", HERE, oldest=True)
    assert agreed is not None
    assert agreed[0] == "TLSv1.1"


def test_nothing_on_443_is_said_once() -> None:
    made = Host.here({"GATEHOUSE_ENV_FILE": "/nonexistent", "DOMAINS": "a.test"})
    host = Host(made.configuration, resolve=lambda _: [HERE], https_port=9)
    assert [finding.state for finding in front.check(host)] == ["skip"]
