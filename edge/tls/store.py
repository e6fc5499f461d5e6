"""The certificates on disk: which there are, what they cover, and why one cannot be used."""

import os
import ssl
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

_BEGIN = b"-----BEGIN CERTIFICATE-----"
Source = Literal["manual", "acme"]


class CertificateError(Exception):
    """A certificate cannot be used; str() is one sentence that names its file."""


class ExpiredError(CertificateError):
    """It was good once. Nothing but a new one helps, and the edge can start without it."""


class Pair(NamedTuple):
    """The files of one certificate; the same file twice where it holds both. `authority` is the ACME one's slug."""

    chain: Path
    key: Path
    source: Source = "manual"
    authority: str = ""

    @property
    def label(self) -> str:
        """What its owner calls it."""
        return self.chain.parent.name if self.chain.stem == "fullchain" else self.chain.stem

    def signature(self) -> tuple[tuple[int, ...], ...]:
        """Changes whenever content, owner or mode of either file does; empty parts for what is not there."""
        return tuple(_stat(path) for path in (self.chain, self.key))


class Folders(NamedTuple):
    """`given` holds certificates of yours, `acme` those we order: a folder for each authority, `authority` ours now."""

    given: Path
    acme: Path
    authority: str

    @property
    def own(self) -> Path:
        return self.acme / self.authority

    def pairs(self) -> list[Pair]:
        """`NAME.crt` with `NAME.key`, `NAME/fullchain.pem` with `NAME/privkey.pem`, and what we ordered."""
        found = [Pair(path, path.with_suffix(".key")) for path in sorted(self.given.glob("*.crt"))]
        found += [Pair(path, path.with_name("privkey.pem")) for path in sorted(self.given.glob("*/fullchain.pem"))]
        return found + [Pair(path, path, "acme", path.parent.name) for path in sorted(self.acme.glob("*/*.pem"))]


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """A chain and the key that belongs to it. `names` lower-case; `context` serves it."""

    pair: Pair
    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime
    context: ssl.SSLContext

    @property
    def life(self) -> timedelta:
        return self.not_after - self.not_before

    def days_left(self, now: datetime) -> float:
        return (self.not_after - now).total_seconds() / 86_400

    def covers(self, host: str) -> bool:
        return host in self.names or f"*.{host.partition('.')[2]}" in self.names


def read(pair: Pair, now: datetime | None = None) -> Certificate:
    """Proves a pair by loading it. Raises CertificateError, ExpiredError among them."""
    require_closed(pair.key)
    leaf = _leaf(pair.chain)
    certificate = Certificate(
        pair,
        _names(leaf, pair.chain),
        _issuer(leaf),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
        _context(pair),
    )
    if certificate.not_after <= (now or datetime.now(UTC)):
        raise ExpiredError(f"{pair.chain} expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC")
    return certificate


def require_closed(key: Path) -> None:
    """Raises CertificateError for a private key that is absent or that others can read."""
    try:
        mode = key.stat().st_mode
    except FileNotFoundError:
        raise CertificateError(f"{key} is missing: each certificate needs its key beside it") from None
    except OSError as error:
        raise CertificateError(f"{key} cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CertificateError(
            f"{key} is a private key open to other users (mode {stat.S_IMODE(mode):04o}): run chmod 600 {key}"
        )


def require_good(folders: Folders) -> None:
    """Raises CertificateError naming all that a person must mend before the edge starts, one a line."""
    if faults := list(_faults(folders)):
        raise CertificateError("\n".join(faults))


def _faults(folders: Folders) -> Iterator[str]:
    """Not what only time or the authority can mend: the edge serves the other names meanwhile."""
    for pair in folders.pairs():
        try:
            require_closed(pair.key) if pair.source == "acme" else read(pair)
        except ExpiredError:
            continue
        except CertificateError as error:
            yield str(error)


def write_private(path: Path, content: bytes) -> None:
    """The whole file or none of it, for its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # its mode is 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def new_context() -> ssl.SSLContext:
    """TLS 1.2 and 1.3, forward secrecy and authenticated encryption alone, HTTP/1.1 within."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ctime_ns, found.st_size, found.st_ino


def _leaf(chain: Path) -> x509.Certificate:
    try:
        text = chain.read_bytes()
        found = x509.load_pem_x509_certificates(text)
    except OSError as error:
        raise CertificateError(f"{chain} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CertificateError(f"{chain} holds no certificate, or only a part of one") from None
    if len(found) != text.count(_BEGIN):
        raise CertificateError(f"{chain} ends within a certificate")
    return found[0]


def _names(leaf: x509.Certificate, chain: Path) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise CertificateError(f"{chain} names no host (no subject alternative name): no client accepts it") from None
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))


def _issuer(leaf: x509.Certificate) -> str:
    for attribute in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if found := leaf.issuer.get_attributes_for_oid(attribute):
            return str(found[0].value)
    return leaf.issuer.rfc4514_string()


def _context(pair: Pair) -> ssl.SSLContext:
    context = new_context()
    try:
        # Without a password of ours OpenSSL would ask for one at the terminal.
        context.load_cert_chain(pair.chain, pair.key, password="")
    except ssl.SSLError as error:
        what = f"does not belong to {pair.chain}" if "MISMATCH" in str(error.reason) else "cannot be read as a key"
        hint = "" if "MISMATCH" in str(error.reason) else " (a passphrase cannot be given)"
        raise CertificateError(f"{pair.key} {what}{hint}") from None
    except OSError as error:
        raise CertificateError(f"{pair.key} cannot be read: {error.strerror}") from None
    return context
