"""`gatehouse doctor`: what is wrong, and what to do."""

import sys
from collections.abc import Iterable, Sequence

import click

from ops.stack.doctor import Finding

_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red"), "skip": ("–", "white")}
_NAME_WIDTH = 15


@click.command()
@click.option("--production", is_flag=True, help="Go through all that must hold on a production host.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(production: bool, as_json: bool) -> None:
    """Check Python, packages, state, settings, ports, database, store and services; exit status 1 when one fails.

    With --production also what the launch and security lists ask: names and certificates, what can be reached from
    outside, rights, backups, logs, timers, firewall, known vulnerabilities. Before the first start it says what it
    cannot see yet.
    """
    from ops.cli.output import show_json  # noqa: PLC0415

    findings: list[tuple[str, Finding]] = []
    for heading, finding in _found(production):
        if not as_json:
            if heading and (not findings or findings[-1][0] != heading):
                click.echo(click.style(f"{'' if not findings else chr(10)}{heading}", bold=True))
            _show(finding)
        findings.append((heading, finding))
    states = [finding.state for _, finding in findings]
    if as_json:
        show_json([{**finding._asdict(), **({"group": heading} if heading else {})} for heading, finding in findings])
    else:
        click.echo(f"\n{_summary(states, counts_all=production)}")
    sys.exit(1 if "fail" in states else 0)


def _found(production: bool) -> Iterable[tuple[str, Finding]]:
    from ops.stack import doctor  # noqa: PLC0415

    if not production:
        return (("", finding) for finding in doctor.examine())
    from ops.stack.doctor.production import examine  # noqa: PLC0415
    from ops.stack.doctor.production.host import Host  # noqa: PLC0415

    return examine(Host.here())


def _summary(states: Sequence[str], *, counts_all: bool) -> str:
    failed, warned, skipped = (states.count(state) for state in ("fail", "warn", "skip"))
    if counts_all:
        return f"{failed} failed, {warned} warnings, {skipped} not seen, {states.count('ok')} good"
    return f"{failed} failed" if failed else "nothing is wrong"


def _show(finding: Finding) -> None:
    mark, colour = _MARKS[finding.state]
    click.echo(f"{click.style(mark, fg=colour, bold=True)} {finding.name:<{_NAME_WIDTH}}  {finding.detail}")
    if finding.fix and finding.state != "ok":
        click.echo(f"  {'':<{_NAME_WIDTH}}  {click.style('→', dim=True)} {finding.fix}")
