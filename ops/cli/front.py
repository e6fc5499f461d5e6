"""`gatehouse front`: the configuration of what stands in front of the edge."""

import click

from ops.front import TEMPLATES, Front

_DEFAULTS = Front(domains=())


@click.command()
@click.argument("kind", type=click.Choice(list(TEMPLATES)))
@click.option(
    "--domain", "domains", multiple=True, help="A host to serve; DOMAINS and DOMAIN1 to DOMAIN5 when not given."
)
@click.option("--upstream", help="The edge, as host:port; 127.0.0.1 and EDGE_PORT when not given.")
@click.option(
    "--certificates",
    help=f"Folder with NAME/fullchain.pem and NAME/privkey.pem. nginx: {_DEFAULTS.certificates} when not given; "
    "the others get certificates by themselves then.",
)
@click.option("--email", default="", help="Told to the certificate authority.")
@click.option(
    "--authority", default="", help="Another ACME directory, such as a staging one; Caddy: internal = its own."
)
@click.option("--webroot", default=_DEFAULTS.webroot, show_default=True, help="Where nginx serves challenges from.")
@click.option("--nginx-version", default="1.22", show_default=True, help="The nginx that reads it, as in `nginx -v`.")
@click.option("--challenge-only", is_flag=True, help="nginx: port 80 alone, to get the first certificates.")
def command(
    *,
    kind: str,
    domains: tuple[str, ...],
    upstream: str | None,
    certificates: str | None,
    email: str,
    authority: str,
    webroot: str,
    nginx_version: str,
    challenge_only: bool,
) -> None:
    """Print the configuration of nginx, Caddy or Traefik for the hosts that are served.

    It goes where its first lines say. Make it again when the hosts change.
    """
    from ops.front import render  # noqa: PLC0415

    hosts, port = _settings()
    if certificates is None:
        certificates = _DEFAULTS.certificates if kind == "nginx" else ""
    front = Front(
        domains=domains or hosts,
        upstream=upstream or f"127.0.0.1:{port}",
        certificates=certificates,
        email=email,
        authority=authority,
        webroot=webroot,
        nginx=_version(nginx_version),
        challenge_only=challenge_only,
    )
    if not front.domains:
        raise click.UsageError("no host is known: give --domain, or set DOMAINS")
    click.echo(render(kind, front), nl=False)


def _settings() -> tuple[tuple[str, ...], int]:
    """The hosts and the port of the edge. Raises StackError for settings that cannot be read."""
    from common.settings import SettingsError  # noqa: PLC0415
    from ops.front import served  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    try:
        read = served()
    except SettingsError as error:
        raise StackError(str(error)) from None
    return read.hosts, read.edge_port


def _version(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.rpartition("/")[2].split("."))
    except ValueError:
        raise click.BadParameter(f"{text} is no version such as 1.22", param_hint="--nginx-version") from None
