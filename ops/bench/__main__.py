"""`make bench`: the edge side by side with what people use instead, on this machine as it is now.

Everything runs over loopback in a temporary directory and is removed. Machines are noisy: rounds are interleaved,
medians are shown with their spread, and two runs are never to be compared with one another.
"""

import json
import os
import platform
import sys
import time
from pathlib import Path

import click

from ops.bench.cases import CASES
from ops.bench.check import NotAsSaid
from ops.bench.load import CONNECTIONS, BadAnswer, tool
from ops.bench.report import Section
from ops.bench.setting import bench
from ops.interrupts import interruptible


@click.command()
@click.option("--cases", default="", help=f"Comma-separated, of {', '.join(CASES)}; all without it.")
@click.option("--peers", default="", help="Comma-separated names; all without it.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=3, show_default=True, type=click.IntRange(1), help="Of each round.")
@click.option("--json", "target", type=click.Path(path_type=Path), default=Path("build/bench.json"), show_default=True)
def main(cases: str, peers: str, rounds: int, seconds: int, target: Path) -> None:
    """Exit 1 when a request failed or a peer does not do what it is measured for; goals are shown as met or missed."""
    names = _words(cases) or list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        raise click.UsageError(f"there is no case {unknown[0]!r}: {', '.join(CASES)}")
    started = time.monotonic()
    sections: list[Section] = []
    try:
        with interruptible(), bench(rounds=rounds, seconds=seconds, wanted=_words(peers)) as running:
            click.echo(f"{_machine()}\n")
            for name in names:
                for section in CASES[name](running):
                    click.echo(section.markdown() + "\n")
                    sections.append(section)
    except (BadAnswer, NotAsSaid) as error:
        raise click.ClickException(str(error)) from None
    _write(sections, target)
    click.echo(f"{time.monotonic() - started:.0f} s; figures in {target}")


def _machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"{_processor()}, {os.cpu_count()} processors shared by load, proxies, upstream and store; load average "
        f"{load:.1f} before the run; Python {platform.python_version()} of {sys.base_prefix}; {CONNECTIONS} "
        f"connections by {tool()}; one worker each"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _write(sections: list[Section], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    goals = [{"goal": goal.text, "figure": goal.figure, "met": goal.is_met} for one in sections for goal in one.goals]
    figures = {one.title: {"figures": one.figures, "not_measured": one.skipped} for one in sections}
    target.write_text(json.dumps({"machine": _machine(), "goals": goals, "sections": figures}, indent=2) + "\n")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


if __name__ == "__main__":
    main()
