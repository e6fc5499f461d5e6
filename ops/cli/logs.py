"""`gatehouse logs`: what all parts say, in the order of time."""

import signal

import click

LINES = 50


@click.command()
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), help=f"How many of the last lines (default {LINES}).")
@click.option("--request", "request_id", metavar="ID", help="Only this request's lines, from all services.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def command(service: str | None, follow: bool, lines: int | None, request_id: str | None, as_json: bool) -> None:
    """Show the logs of all parts, or of SERVICE: edge, auth, core, postgres, valkey, gatehouse."""
    from contextlib import suppress  # noqa: PLC0415

    from ops.cli import log_lines  # noqa: PLC0415
    from ops.stack import logs as reading  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415
    from ops.stack.place import MODULES, Place  # noqa: PLC0415

    place = Place.find()
    names = {module: name for name, module in MODULES.items()}
    known = sorted(path.stem for path in place.logs.glob("*.log"))
    if not known:
        raise StackError(f"there are no logs in {place.logs}")
    wanted = names.get(service, service) if service else None
    if wanted is not None and wanted not in known:
        raise click.BadParameter(f"{service} is none of {', '.join(known)}", param_hint="SERVICE")
    logs = [reading.Log(place.log(name)) for name in ([wanted] if wanted else known)]
    # Whoever asks for one request wants all of it.
    count = lines if lines is not None else (None if request_id else LINES)
    show = log_lines.as_json if as_json else log_lines.as_text
    found = False
    for line in reading.last(logs, count, request_id):
        found = True
        click.echo(show(line))
    if request_id and not found and not follow:
        raise StackError(f"no line of {request_id} in {place.logs}")
    if follow:
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with the first ignored
            signal.signal(number, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            for line in reading.following(logs, request_id):
                click.echo(show(line))
