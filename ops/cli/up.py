"""`gatehouse up`: starts the stack, in this terminal or in the background."""

import click


@click.command()
@click.option("--detach", is_flag=True, help="Return when it is ready and leave it running in the background.")
@click.option("--report-to", type=int, hidden=True, help="The pipe on which the background process reports.")
def command(detach: bool, report_to: int | None) -> None:
    """Start PostgreSQL and Valkey (unless DATABASE_URL and REDIS_URL are set), migrate, start auth, core and edge.

    Runs until Ctrl-C, or until `gatehouse down`. A second start over the same GATEHOUSE_VAR finds its data.
    """
    from ops.cli import starting  # noqa: PLC0415

    if detach:
        starting.in_background()
    else:
        starting.here(report_to=report_to)
