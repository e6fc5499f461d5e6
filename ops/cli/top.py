"""`gatehouse top`: what the edge does, live."""

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ops.stack.place import Place


@click.command()
@click.option("--once", is_flag=True, help="Look for one interval, print, and end; so does whatever is no terminal.")
@click.option(
    "--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds between looks."
)
@click.option("--json", "as_json", is_flag=True, help="Print one interval's figures as JSON, and end.")
def command(*, once: bool, interval: float, as_json: bool) -> None:
    """Show requests per second, durations and errors by route and upstream, limits, bans and workers.

    Over all workers of the edge on this machine. Ctrl-C ends it.
    """
    from ops.cli.output import show_json  # noqa: PLC0415
    from ops.stack.place import Place  # noqa: PLC0415
    from ops.top.page import page  # noqa: PLC0415
    from ops.top.sample import between, look  # noqa: PLC0415

    place = Place.find()
    if not (as_json or once) and sys.stdout.isatty():
        _live(place, interval)
        return
    before = look(place)
    time.sleep(interval)
    figures = between(before, look(place))
    if as_json:
        show_json(figures)
    else:
        _print(page(figures))


def _print(shown: object) -> None:
    from rich.console import Console  # noqa: PLC0415

    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(shown)


def _live(place: "Place", interval: float) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from ops.stack.errors import StackError  # noqa: PLC0415
    from ops.top.page import page  # noqa: PLC0415
    from ops.top.sample import between, look  # noqa: PLC0415

    console = Console(highlight=False)
    before = look(place)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                try:
                    after = look(place)
                except StackError as error:  # it may be restarting
                    live.update(f"{error}; waiting for it", refresh=True)
                    continue
                live.update(page(between(before, after), console.height), refresh=True)
                before = after
    except KeyboardInterrupt:
        return
