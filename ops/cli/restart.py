"""`gatehouse restart`: new workers for old."""

import click


@click.command()
@click.argument("service", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(service: str | None, as_json: bool) -> None:
    """Replace the workers of all services, or of SERVICE (edge, auth, core), without losing a request.

    New code and changed settings files take effect. When they are refused, the old workers go on and the reason
    is shown.
    """
    from ops.cli.output import say  # noqa: PLC0415
    from ops.cli.replacing import replaced  # noqa: PLC0415

    answer = replaced("restart", service)
    say(as_json, f"{', '.join(answer['reloaded'])}: new workers are serving", **answer)
