"""`make soak`: experiments that take minutes, one after the other, each with a stack or an edge of its own.

Exit 1 when one does not show what it is to show.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping

import click

from ops.bench.check import NotAsSaid
from ops.bench.load import BadAnswer
from ops.bench.processes import NotStarted
from ops.bench.report import Section
from ops.interrupts import interruptible
from ops.soak import bulk, memory, reloads

Experiment = Callable[[], Iterable[Section]]
EXPERIMENTS: Mapping[str, Experiment] = {"bulk": bulk.run, "memory": memory.run, "reloads": reloads.run}


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    if unknown := set(names) - EXPERIMENTS.keys():
        raise click.UsageError(f"there is no experiment {min(unknown)!r}: {', '.join(EXPERIMENTS)}")
    missed = 0
    for name in names or EXPERIMENTS:
        started = time.monotonic()
        try:
            with interruptible():
                for section in EXPERIMENTS[name]():
                    click.echo(section.markdown() + "\n")
                    missed += sum(not goal.is_met for goal in section.goals)
        except (BadAnswer, NotAsSaid, NotStarted) as error:
            raise click.ClickException(f"{name}: {error}") from None
        click.echo(f"{name}: {time.monotonic() - started:.0f} s\n")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
