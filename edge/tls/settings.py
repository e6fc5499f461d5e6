"""What a person may say about TLS. A field `acme_ca` is the variable ACME_CA; docs are in .env.example."""

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import Field

from common.settings import Settings
from edge.tls.store import Folders

PRODUCTION = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


class Authority(NamedTuple):
    """An ACME authority: its directory, who it may write to, and a bundle where the public ones do not vouch for it."""

    directory: str
    email: str
    bundle: str = ""

    @property
    def slug(self) -> str:
        """Its name in paths and keys: certificates of the staging authority never pass for real ones."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.directory.partition("://")[2]).strip("-.")

    def staging(self) -> "Authority":
        """Where a dry run goes: Let's Encrypt's staging for its production, else the same authority."""
        return self._replace(directory=STAGING) if self.directory == PRODUCTION else self


class TlsSettings(Settings):
    edge_tls_port: int = Field(8443, ge=1, le=65535)
    tls_certificates: str = ""
    public_url: str = ""
    acme: bool = False
    acme_directory: str = ""
    acme_staging: bool = False
    acme_ca: str = ""
    letsencrypt_email: str = ""

    @property
    def folders(self) -> Folders:
        var = self.gatehouse_var.absolute()
        given = Path(self.tls_certificates).absolute() if self.tls_certificates else var / "certs"
        return Folders(given, var / "certs" / "acme", self.authority.slug)

    @property
    def ends_tls(self) -> bool:
        """Whether there is anything to serve over TLS, or will be."""
        return self.acme or bool(self.folders.pairs())

    @property
    def authority(self) -> Authority:
        default = STAGING if self.acme_staging else PRODUCTION
        return Authority(self.acme_directory or default, self.letsencrypt_email, self.acme_ca)

    @property
    def https_port(self) -> int:
        """The port that clients know: PUBLIC_URL's, 443 in production (where something maps it), else our own."""
        public = urlsplit(self.public_url)
        if public.scheme == "https":
            return public.port or 443
        return 443 if self.is_production else self.edge_tls_port

    def tls_faults(self, hosts: Sequence[str], redis_url: str) -> list[str]:
        found = []
        if self.tls_certificates and not self.folders.given.is_dir():
            found.append(f"TLS_CERTIFICATES: {self.tls_certificates} is no directory")
        return [*found, *(self._acme_faults(hosts, redis_url) if self.acme else [])]

    def _acme_faults(self, hosts: Sequence[str], redis_url: str) -> list[str]:
        found = []
        if "@" not in self.letsencrypt_email:
            found.append("LETSENCRYPT_EMAIL: must be set with ACME=true: the address the authority may write to")
        if not any(unobtainable(host) is None for host in hosts):
            found.append("ACME: needs a host in DOMAINS that is a full name; no authority gives any other by HTTP-01")
        if not redis_url:
            found.append("ACME: needs REDIS_URL: it makes several edges place one order")
        if self.acme_staging and self.acme_directory:
            found.append("ACME_STAGING: ACME_DIRECTORY names another authority; set one of them")
        if not self.authority.directory.startswith("https://"):
            found.append("ACME_DIRECTORY: must be an https:// URL")
        if self.acme_ca and not Path(self.acme_ca).is_file():
            found.append(f"ACME_CA: {self.acme_ca} does not exist")
        return found


def unobtainable(host: str) -> str | None:
    """Why no authority gives a certificate for `host` by HTTP-01, as the end of a sentence; None where one would."""
    if host.startswith("*."):
        return "a wildcard cannot be had by HTTP-01, only be a certificate of yours"
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None if "." in host else "it is no full name"
    return "it is an address"
