"""What stands in front of the edge: configurations of nginx, Caddy and Traefik, made from the domains served.

TLS, HTTP/2 and 3 and the redirect from port 80 end there. Everything else is the edge's: security headers, limits, body
sizes, errors. A front only speaks for itself where the edge cannot (it is down, the request is unreadable, the host is
unknown), and then in the same envelope with the same headers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pydantic

from common import errors, settings
from common.errors import ApiError
from common.settings import SettingsError
from edge.settings import EdgeSettings

TEMPLATES = {
    "nginx": "nginx/site.conf.j2",
    "caddy": "caddy/Caddyfile.j2",
    "traefik": "traefik/dynamic.yaml.j2",
    "traefik-static": "traefik/traefik.yaml.j2",
    "traefik-labels": "traefik/labels.yaml.j2",
}
# What a front may have to say itself; its other statuses count as one of these.
_ERRORS: tuple[type[ApiError], ...] = (
    errors.BadRequest,
    errors.Forbidden,
    errors.NotFound,
    errors.RequestTimeout,
    errors.PayloadTooLarge,
    errors.MisdirectedRequest,
    errors.HeadersTooLarge,
    ApiError,
    errors.BadGateway,
    errors.ServiceUnavailable,
    errors.GatewayTimeout,
)
_SETTINGS = ("DOMAINS", "EDGE_PORT", "PORT", "API_PORT", *(f"DOMAIN{number}" for number in range(1, 6)))
_HTTP2_DIRECTIVE_SINCE = (1, 25, 1)


@dataclass(frozen=True, kw_only=True)
class Front:
    """How a front is to be set up.

    domains          the hosts served, `*.example.com` among them; at least one
    upstream         the edge, as `host:port`
    certificates     a folder with NAME/fullchain.pem and NAME/privkey.pem (certbot's layout); "" where the front has
                     them from a certificate authority by itself
    webroot          where nginx serves `/.well-known/acme-challenge/` from
    storage          where Caddy keeps what it must, in a container; its own place when empty
    email            told to the certificate authority; it may warn there
    authority        an ACME directory other than Let's Encrypt's, such as its staging one; `internal`: Caddy's own
    silence_seconds  how long the edge may say nothing; longer than any route's own time-outs, so that it answers first
    nginx            the version that reads the file
    challenge_only   port 80 alone, to get the first certificates
    """

    domains: Sequence[str]
    upstream: str = "127.0.0.1:8080"
    certificates: str = "/etc/letsencrypt/live"
    webroot: str = "/var/www/gatehouse"
    storage: str = ""
    email: str = ""
    authority: str = ""
    http_port: int = 80
    https_port: int = 443
    silence_seconds: int = 65
    nginx: tuple[int, ...] = (1, 22)
    ipv6: bool = True
    challenge_only: bool = False

    @property
    def has_http2_directive(self) -> bool:
        """`listen … http2` works with every version, but newer ones ask for `http2 on`."""
        return self.nginx >= _HTTP2_DIRECTIVE_SINCE


def render(template: str, front: Front, **more: Any) -> str:
    """One of TEMPLATES, or a path below ops/. Raises ValueError for a front without a domain."""
    if not front.domains:
        raise ValueError("DOMAINS must be set: the hosts that the front serves")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - configuration files, from settings that were checked
    )
    environment.filters["openai_type"] = lambda error: errors.openai_envelope(error())["error"]["type"]
    environment.filters["traefik_rule"] = _traefik_rule
    text = environment.get_template(TEMPLATES.get(template, template))
    return text.render(front=front, errors=_ERRORS, certificate_name=certificate_name, **more)


def served(environ: Mapping[str, str] | None = None) -> EdgeSettings:
    """What the edge's settings say of hosts and ports; whatever else they lack is no concern here.

    Raises SettingsError.
    """
    found = {name: value for name in _SETTINGS if (value := settings.variable(name, environ))}
    try:
        return EdgeSettings.model_validate(found)
    except pydantic.ValidationError as error:
        raise SettingsError("; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())) from None


def certificate_name(domain: str) -> str:
    """The folder of a domain's certificate; a wildcard's is named as certbot names it."""
    return domain.removeprefix("*.")


def _traefik_rule(domain: str) -> str:
    """As a rule inside double quotes of YAML."""
    if not domain.startswith("*."):
        return f"Host(`{domain}`)"
    parent = domain.removeprefix("*.").replace(".", r"\\.")
    return rf"HostRegexp(`^[a-zA-Z0-9-]+\\.{parent}$`)"
