"""`gatehouse smoke`: does all of it work, seen from where its clients are?"""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import click

from ops import smoke
from ops.docker.journey import Edge, JourneyFailed

_LOG_BYTES_MAX = 4 * 1024 * 1024


@click.command()
@click.option("--url", help="Where clients reach the stack; the running stack of this GATEHOUSE_VAR when not given.")
@click.option("--address", help="Where the host of --url is found, in place of what its name says.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False), help="Trust certificates of this authority (PEM).")
@click.option("--insecure", is_flag=True, help="Trust any certificate.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(url: str | None, address: str | None, ca: str | None, insecure: bool, as_json: bool) -> None:
    """Use everything a stack offers once, as somebody new, and say whether all of it works.

    It signs up under an address of its own and deletes that account at the end.
    """
    from ops.cli.output import say  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    target, logs = (url, None) if url else _local()
    steps: list[str] = []

    def tell(title: str) -> None:
        steps.append(title)
        if not as_json:
            click.echo(f"{click.style('✓', fg='green', bold=True)} {title}")

    try:
        marker = smoke.run(_edge(target, address, ca, insecure=insecure), tell)
        if logs is not None:
            _look_at_logs(logs, marker)
            tell("logs")
    except JourneyFailed as error:
        raise StackError(str(error)) from None
    except OSError as error:
        raise StackError(f"{target} does not answer: {error}") from None
    say(as_json, f"all is well at {target}", url=target, requests=marker, steps=steps)


def _local() -> tuple[str, Path]:
    """The URL and the logs of the stack that runs here. Raises StackError when none does."""
    from ops.stack.condition import condition  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415
    from ops.stack.place import Place  # noqa: PLC0415

    place = Place.find()
    status = condition(place)
    if status is None or not status["url"]:
        raise StackError(f"no stack runs over {place.var}: give --url, or start one with `gatehouse up`")
    return status["url"], place.logs


def _edge(url: str, address: str | None, ca: str | None, *, insecure: bool) -> Edge:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
        raise click.BadParameter("must be like https://api.example.com", param_hint="--url")
    context = None
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca)
        if insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Edge(parts.port or (80 if context is None else 443), host=parts.hostname, address=address, context=context)


def _look_at_logs(logs: Path, marker: str) -> None:
    for service in ("edge", "auth", "core"):
        with (logs / f"{service}.log").open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - _LOG_BYTES_MAX))
            smoke.require_logged(service, log.read().decode(errors="replace").splitlines(), marker)
