"""`gatehouse logs`: what all parts say, in the order of time; and rotation on demand."""

import re
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ops.logs.lines import Line
    from ops.logs.reading import Log, Wanted
    from ops.stack.place import Place

LINES = 50
_SPAN = re.compile(r"(\d+)([smhdw])")
_SPAN_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Since(click.ParamType[str]):
    """`2h`, a date or a time; becomes a time as log lines have it (ISO 8601 in UTC)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from datetime import UTC, datetime, timedelta  # noqa: PLC0415

        if match := _SPAN.fullmatch(str(value)):
            moment = datetime.now(UTC) - timedelta(seconds=int(match[1]) * _SPAN_SECONDS[match[2]])
        else:
            try:
                moment = datetime.fromisoformat(str(value))
            except ValueError:
                self.fail(f"{value!r} is neither like 30m, 12h, 7d nor like 2026-01-31 or 2026-01-31T12:00", param, ctx)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Pattern(click.ParamType["re.Pattern[str]"]):
    """A regular expression, ignoring case."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "re.Pattern[str]":
        try:
            return re.compile(str(value), re.IGNORECASE)
        except re.error as error:
            self.fail(f"{value!r} is no regular expression: {error}; put \\ before what is meant literally", param, ctx)


@click.command()
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), help=f"How many of the last lines (default {LINES}).")
@click.option("--request", "request_id", metavar="ID", default="", help="Only this request's lines, from all services.")
@click.option("--search", "pattern", type=Pattern(), metavar="TEXT", help="Lines with this regular expression.")
@click.option("--failed-logins", is_flag=True, help="Failed sign-ins: time, address, status, path, request id.")
@click.option("--since", type=Since(), metavar="TIME", help="From then on: 30m, 12h, 7d, or a date or time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--rotate", is_flag=True, help="Put every log aside now that is not empty, and compress older ones.")
@click.option("--due", is_flag=True, help="With --rotate: only what the policy of the settings says is due.")
def command(
    *,
    service: str | None,
    follow: bool,
    lines: int | None,
    request_id: str,
    pattern: "re.Pattern[str] | None",
    failed_logins: bool,
    since: str | None,
    as_json: bool,
    rotate: bool,
    due: bool,
) -> None:
    """Show the logs of all parts, or of SERVICE: edge, auth, core, postgres, valkey, gatehouse.

    --request, --search, --failed-logins and --since look through all that is kept, compressed logs too; without them
    the last lines are shown.
    """
    from ops.logs.reading import Wanted  # noqa: PLC0415
    from ops.stack.place import Place  # noqa: PLC0415

    place = Place.find()
    wanted = Wanted(since=since or "", request_id=request_id, pattern=pattern, failed_sign_ins=failed_logins)
    if due and not rotate:
        raise click.UsageError("--due belongs to --rotate")
    if rotate:
        if service or follow or lines is not None or not wanted.is_everything:
            raise click.UsageError("--rotate takes all logs and shows none: only --due and --json go with it")
        _rotate(place, as_json=as_json, is_forced=not due)
        return
    _show(place, _logs(place, service), wanted, lines=lines, as_json=as_json, follow=follow)


def _logs(place: "Place", service: str | None) -> "list[Log]":
    from ops.logs import files  # noqa: PLC0415
    from ops.logs.reading import Log  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415
    from ops.stack.place import MODULES  # noqa: PLC0415

    try:
        known = files.names(place.logs)
    except OSError as error:
        raise StackError(_unreadable(error, place)) from None
    if not known:
        raise StackError(f"there are no logs in {place.logs}")
    name = {module: name for name, module in MODULES.items()}.get(service or "", service)
    if name is not None and name not in known:
        raise click.BadParameter(f"{service} is none of {', '.join(known)}", param_hint="SERVICE")
    return [Log(place.log(one)) for one in ([name] if name else known)]


def _show(
    place: "Place", logs: "list[Log]", wanted: "Wanted", *, lines: int | None, as_json: bool, follow: bool
) -> None:
    from contextlib import suppress  # noqa: PLC0415

    from ops.cli import log_lines  # noqa: PLC0415
    from ops.logs import reading  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    show = log_lines.shower(as_json=as_json, failed_sign_ins=wanted.failed_sign_ins)
    found = False
    for line in _readable(_found(logs, wanted, lines), place):
        found = True
        click.echo(show(line))
    if wanted.request_id and not found and not follow:
        raise StackError(f"no line of {wanted.request_id} in {place.logs}")
    if follow:
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with the first ignored
            signal.signal(number, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            for line in reading.following(logs, wanted):
                click.echo(show(line))


def _readable(lines: "Iterator[Line]", place: "Place") -> "Iterator[Line]":
    """What the reader of the lines raises (a closed pipe) does not come through here."""
    from ops.stack.errors import StackError  # noqa: PLC0415

    try:
        yield from lines
    except OSError as error:
        raise StackError(_unreadable(error, place)) from None


def _unreadable(error: OSError, place: "Place") -> str:
    advice = "run this as its owner" if isinstance(error, PermissionError) else "move it away to read the rest"
    return f"{error.filename or place.logs} cannot be read: {error.strerror}; {advice}"


def _found(logs: "list[Log]", wanted: "Wanted", lines: int | None) -> "Iterator[Line]":
    """Who asks for something in particular wants all of it, unless told how many."""
    from collections import deque  # noqa: PLC0415

    from ops.logs import reading  # noqa: PLC0415

    if wanted.is_everything:
        yield from reading.last(logs, LINES if lines is None else lines)
    elif lines is None:
        yield from reading.everything(logs, wanted)
    else:
        yield from deque(reading.everything(logs, wanted), lines)


def _rotate(place: "Place", *, as_json: bool, is_forced: bool) -> None:
    import json  # noqa: PLC0415
    from dataclasses import asdict  # noqa: PLC0415

    from common.settings import SettingsError  # noqa: PLC0415
    from ops.logs import rotation  # noqa: PLC0415
    from ops.owner import as_owner  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    if not place.logs.is_dir():
        raise StackError(f"there are no logs in {place.logs}")
    try:
        policy = rotation.Policy.read()
        with as_owner(place.var):
            report = asdict(rotation.rotate(place.logs, policy, is_forced=is_forced))
    except SettingsError as error:
        raise StackError(str(error)) from None
    except OSError as error:
        raise StackError(f"the logs could not be rotated: {error.strerror}: {error.filename or place.logs}") from None
    if as_json:
        click.echo(json.dumps(report))
    elif not any(report.values()):
        click.echo("nothing to rotate")
    else:
        for did, names in report.items():
            click.echo("".join(f"{did} {name}\n" for name in names), nl=False)
