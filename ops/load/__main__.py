"""The gate before a launch: 1,000 requests a second for a minute through edge, core and PostgreSQL, none failed.

Starts a production stack of its own in a temporary directory, with as many workers as the machine's processors suggest,
and removes it. Exit 1 when a request failed, the 95th percentile is above 300 ms, or a service used 400 MB of memory.
"""

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click
import orjson

from common.http1 import Pool
from ops.bench.stack import running_stack
from ops.cli.output import show_json
from ops.embedded import discard
from ops.load import apachebench, people, report
from ops.load.apachebench import AbFailed
from ops.load.figures import SERVICES, Figures, Latency, machine
from ops.load.generator import GIVE_UP_SECONDS
from ops.load.people import Refused
from ops.load.usage import watched
from ops.secrets import NAMES
from ops.stack.condition import condition
from ops.stack.place import Place

# Raised: ab sends a thousand as one user, and so many users as the default limit needs take minutes to make. Every
# request is still counted and judged.
LIMITS = {"LIMIT_GENERAL": "10000/60"}
WORKERS_MAX = 4


class Load(NamedTuple):
    """What is asked for: so many requests a second for so long, spread over users with so many expenses."""

    per_second: float
    seconds: float
    users: int
    expenses: int


@click.command()
@click.option("--rate", "per_second", default=1000.0, show_default=True, help="Requests a second.")
@click.option("--seconds", default=60.0, show_default=True, help="For how long.")
@click.option("--users", default=200, show_default=True, help="Users among whom they are spread.")
@click.option("--expenses", default=30, show_default=True, help="Expenses of each user at the start.")
@click.option("--workers", type=click.IntRange(1), help="Of edge and core each; half the processors when not given.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def main(*, per_second: float, seconds: float, users: int, expenses: int, workers: int | None, as_json: bool) -> None:
    """Puts a stack of its own under load, shows what it did, and fails when that is not good enough."""
    tell: Callable[[str], None] = (lambda _: None) if as_json else click.echo
    tell(machine())
    with tempfile.TemporaryDirectory(prefix="gatehouse-load-") as folder:
        Path(folder).chmod(0o711)  # as root, the servers run as somebody else
        place = Place(Path(folder) / "var")
        counts = _workers(workers)
        with running_stack(place, _settings(counts)):
            try:
                figures = _measure(place, Load(per_second, seconds, users, expenses), counts, tell)
            except (Refused, AbFailed, subprocess.SubprocessError) as error:
                raise click.ClickException(str(error)) from None
        discard(place.var)
    show_json(figures.as_json()) if as_json else report.show(figures)
    for fault in figures.faults():
        click.echo(f"failed: {fault}", err=True)
    sys.exit(1 if figures.faults() else 0)


def _workers(asked: int | None) -> dict[str, int]:
    """Half the processors for edge and core each: more of them take turns, and each does less in a turn of its own.

    PostgreSQL and the generator want the rest. Auth only signs people in beforehand.
    """
    count = asked or min(max(1, (os.cpu_count() or 1) // 2), WORKERS_MAX)
    return {"edge": count, "auth": 1, "core": count}


def _settings(workers: dict[str, int]) -> dict[str, str]:
    """Production, but for the embedded servers and the limits."""
    given = {"ENV": "production", "EMBEDDED": "true", "DOMAINS": "127.0.0.1", "TRUSTED_PROXIES": "127.0.0.1/32"}
    given |= LIMITS | {f"{name.upper()}_WORKERS": str(count) for name, count in workers.items()}
    return given | {name: secrets.token_urlsafe(48) for name in NAMES}


def _measure(place: Place, asked: Load, workers: dict[str, int], tell: Callable[[str], None]) -> Figures:
    status = condition(place)
    assert status
    url = status["url"]
    tell(f"workers: {', '.join(f'{name} {workers[name]}' for name in SERVICES)}")
    tell(f"limits raised so that none is refused: {', '.join('='.join(limit) for limit in LIMITS.items())}")
    tell(f"making {asked.users} users with {asked.expenses} expenses each, through the API")
    made = asyncio.run(_people(url, asked))
    tell(f"{apachebench.COMMAND}, then {asked.per_second:g} requests/s for {asked.seconds:g} s")
    ab = apachebench.run(f"{url}/api/v1/expenses", made[0].token)
    plan = {"url": url, "people": [asdict(one) for one in made], **asked._asdict()}
    with watched(place) as watch:
        outcome = _generate(plan, asked.seconds)
    return Figures(
        per_second=asked.per_second,
        seconds=outcome["seconds"],
        failures=outcome["failures"],
        latency=Latency.of([one for latencies in outcome["latencies"].values() for one in latencies]),
        by_kind={kind: Latency.of(latencies) for kind, latencies in outcome["latencies"].items()},
        lag=Latency.of(outcome["lags"]),
        uses=watch.uses,
        generator_cpu_seconds=outcome["cpu_seconds"],
        workers=workers,
        users=asked.users,
        ab=ab,
    )


async def _people(url: str, asked: Load) -> list[people.Person]:
    pool = Pool(url)
    try:
        return await people.make(pool, count=asked.users, expenses=asked.expenses)
    finally:
        await pool.close()


def _generate(plan: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The outcome of a generator of its own: its interpreter must not wait for ours, nor ours for its answers."""
    patience = seconds + GIVE_UP_SECONDS + 30
    with tempfile.NamedTemporaryFile(prefix="gatehouse-load-") as file:
        words = [sys.executable, "-m", "ops.load.generator", file.name]
        subprocess.run(words, input=orjson.dumps(plan), check=True, timeout=patience)
        outcome: dict[str, Any] = orjson.loads(file.read())
    return outcome


if __name__ == "__main__":
    main()
