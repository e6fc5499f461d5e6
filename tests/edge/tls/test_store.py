"""Which certificates are taken, which are refused at the start, and in which words."""

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge.app import check
from edge.tls.served import Served
from edge.tls.store import CertificateError, ExpiredError, Folders, Pair, read, require_good, write_private
from tests.edge.conftest import KEYS
from tests.edge.tls.conftest import Certificates


def folders(certificates: Certificates) -> Folders:
    return Folders(certificates.folder, certificates.folder / "acme", "authority")


def test_good_pair_says_what_it_is(certificates: Certificates) -> None:
    certificate = read(Pair(*certificates.put("one.test", "www.one.test", days=40)))
    assert certificate.names == ("one.test", "www.one.test")
    assert certificate.issuer == "Test CA"
    assert 39 < certificate.days_left(datetime.now(UTC)) < 41


def cut(path: Path, keep: float) -> None:
    text = path.read_text()
    path.write_text(text[: int(len(text) * keep)])


def lock(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    closed = serialization.BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, closed))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda chain, key: key.chmod(0o640), "one.test.key is a private key open to other users (mode 0640): run"),
        (lambda chain, key: key.chmod(0o604), "(mode 0604)"),
        (lambda chain, key: key.unlink(), "one.test.key is missing: each certificate needs its key beside it"),
        (lambda chain, key: cut(chain, 0.5), "one.test.crt holds no certificate, or only a part of one"),
        (lambda chain, key: chain.write_text(chain.read_text() * 2 + chain.read_text()[:200]), "one.test.crt"),
        (lambda chain, key: cut(key, 0.5), "one.test.key cannot be read as a key"),
        (lambda chain, key: lock(key), "one.test.key cannot be read as a key (a passphrase cannot be given)"),
        (lambda chain, key: chain.with_name("two.test.key").rename(key), "one.test.key does not belong to"),
    ],
)
def test_spoilt_pair_is_refused_at_the_start_in_a_sentence(
    certificates: Certificates, spoil: Callable[[Path, Path], object], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates.put("two.test")
    spoil(*certificates.put("one.test"))
    (certificates.folder / "two.test.crt").unlink()
    monkeypatch.setenv("GATEHOUSE_VAR", str(certificates.folder.parent))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CertificateError) as refused:
        check()
    assert sentence in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_every_fault_is_named_at_once(certificates: Certificates) -> None:
    for name in ("one.test", "two.test"):
        certificates.put(name, mode=0o644)
    with pytest.raises(CertificateError) as refused:
        require_good(folders(certificates))
    assert len(str(refused.value).splitlines()) == 2


def test_an_open_key_of_the_ordered_ones_is_refused_too(certificates: Certificates) -> None:
    path = certificates.folder / "acme" / "authority" / "one.test.pem"
    path.parent.mkdir(parents=True)
    path.write_bytes(certificates.authority.issue("one.test").read_bytes())
    path.chmod(0o644)
    with pytest.raises(CertificateError, match="open to other users"):
        require_good(folders(certificates))


def test_an_expired_certificate_does_not_keep_the_edge_from_starting(certificates: Certificates) -> None:
    pair = Pair(*certificates.put("one.test", days=-2))
    with pytest.raises(ExpiredError, match=r"one\.test\.crt expired on 20"):
        read(pair)
    require_good(folders(certificates))


def test_the_edge_listens_for_tls_only_where_there_is_something_to_serve(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_VAR", str(certificates.folder.parent))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert [place["name"] for place in check()["listen"]] == ["http", "admin"]
    certificates.put("one.test")
    listening = {place["name"]: place.get("port") for place in check()["listen"]}
    assert listening == {"http": 8080, "https": 8443, "admin": None}


def test_of_two_certificates_yours_wins_then_the_authoritys_then_the_longer(certificates: Certificates) -> None:
    def acme(authority: str, days: float) -> Path:
        path = certificates.folder / "acme" / authority / "one.test.pem"
        write_private(path, certificates.authority.issue("one.test", days=days).read_bytes())
        return path

    def chosen() -> tuple[str, str]:
        found = folders(certificates)
        served = Served()
        served.use([read(pair) for pair in found.pairs()], found.authority)
        certificate = served.find("one.test")
        assert certificate is not None
        return certificate.pair.source, certificate.pair.authority

    acme("staging", 80)
    assert chosen() == ("acme", "staging")
    acme("authority", 20)
    assert chosen() == ("acme", "authority")
    certificates.put("one.test", days=10)
    assert chosen() == ("manual", "")


def test_private_files_are_closed_from_the_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "certs" / "acme" / "key.pem"
    write_private(path, b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [found.name for found in path.parent.iterdir()] == ["key.pem"]


def test_time_left_is_counted_in_days(certificates: Certificates) -> None:
    certificate = read(Pair(*certificates.put("one.test", days=3)))
    assert 0 < certificate.days_left(certificate.not_after - timedelta(hours=12)) == 0.5
