"""`gatehouse weight`: how much of an upstream's traffic each of its servers gets, changed while it flows."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ops.weights import Listed


@click.command()
@click.argument("upstream", required=False)
@click.argument("changes", nargs=-1, metavar="[SERVER N]...")
@click.option("--reset", is_flag=True, help="Go back to what the route table says.")
@click.option("--json", "as_json", is_flag=True, help="Print the weights as JSON.")
def command(*, upstream: str | None, changes: tuple[str, ...], reset: bool, as_json: bool) -> None:
    """Show the weights of all upstreams, or of UPSTREAM, or give SERVER the weight N (0 to 1000).

    A server gets requests in the proportion of its weight; with 0 it gets no new ones and finishes those it has.
    Several pairs change together. Every worker of the edge has taken the change over when the command returns, without
    a reload; it holds until it is changed again, also over restarts.
    """
    from ops import weights  # noqa: PLC0415
    from ops.stack.place import Place  # noqa: PLC0415

    wanted = _pairs(changes)
    if (wanted or reset) and upstream is None:
        raise click.UsageError("name the upstream")
    if wanted and reset:
        raise click.UsageError("--reset takes no weights")
    place = Place.find()
    if upstream is not None and (wanted or reset):
        listed = weights.change(place, upstream, wanted)
    else:
        listed = weights.current(place, upstream)
    _show(listed, as_json=as_json)


def _pairs(words: tuple[str, ...]) -> dict[str, int]:
    if len(words) % 2:
        raise click.UsageError(f"{words[-1]} needs a weight")
    pairs = {}
    for server, weight in zip(words[::2], words[1::2], strict=True):
        if not weight.isascii() or not weight.isdigit():
            raise click.BadParameter(f"{weight} is no whole number", param_hint="N")
        pairs[server.rstrip("/")] = int(weight)
    return pairs


def _show(listed: "list[Listed]", *, as_json: bool) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    from rich.table import Table  # noqa: PLC0415

    from ops.cli.output import show_json, show_table  # noqa: PLC0415

    if as_json:
        show_json([asdict(one) for one in listed])
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("upstream", "server", "weight", "share", "table says"):
        table.add_column(column, no_wrap=True, justify="left" if column in ("upstream", "server") else "right")
    for one in listed:
        table.add_row(one.upstream, one.server, str(one.weight), f"{one.share:.0%}", str(one.table_weight))
    show_table(table)
