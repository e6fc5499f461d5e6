"""`gatehouse probe`: is it there, as its clients see it."""

import sys

import click


@click.command()
@click.option(
    "--url", help="What to ask. Default: PROBE_URL, else PUBLIC_URL, else the edge itself; /health/ready of it."
)
@click.option("--restart", is_flag=True, help="Start again the services that do not answer.")
@click.option(
    "--timeout", default=5.0, show_default=True, type=click.FloatRange(0.1, 60), help="Seconds for the answer."
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(url: str | None, restart: bool, timeout: float, as_json: bool) -> None:
    """Ask for health once, write a line to the log `probe`, and alert when that changes; exit status 1 unless 200.

    ALERT_HOOK is called when a problem begins, once a day while it lasts, and when it is over; also for a certificate
    of PUBLIC_URL with less than 14 days left (a sixth of its life, if that is shorter). Without systemd's timer, cron
    does it:

    */5 * * * *  /usr/local/bin/gatehouse probe >/dev/null
    """
    from ops import probe  # noqa: PLC0415
    from ops.cli.output import say  # noqa: PLC0415
    from ops.stack.place import Place  # noqa: PLC0415

    outcome = probe.probe(probe.target(url), Place.find(), timeout=timeout, restarts=restart)
    say(as_json, outcome.line(), **outcome.as_json())
    sys.exit(0 if outcome.passed else 1)
