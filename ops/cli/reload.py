"""`gatehouse reload`: changed settings and tables into effect, everywhere or nowhere."""

import click


@click.command()
@click.argument("service", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(service: str | None, as_json: bool) -> None:
    """Bring changed settings, secrets and route tables into effect in all services, or in SERVICE (edge, auth, core).

    Everything is checked first. When anything is faulty, every fault of every service is named, no service changes
    and the exit status is 1. No request is lost. A changed route table alone needs no reload.
    """
    from ops.cli.output import say  # noqa: PLC0415
    from ops.cli.replacing import replaced  # noqa: PLC0415

    answer = replaced("reload", service)
    say(as_json, f"{', '.join(answer['reloaded'])}: in effect", **answer)
