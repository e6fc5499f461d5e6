"""`gatehouse doctor`: what is wrong, and what to do."""

import sys

import click

_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red"), "skip": ("–", "white")}
_NAME_WIDTH = 14


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> None:
    """Check Python, packages, state, settings, ports, database, store and services; exit status 1 when one fails."""
    from ops.cli.output import show_json  # noqa: PLC0415
    from ops.stack.doctor import Finding, examine  # noqa: PLC0415

    findings: list[Finding] = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _show(*finding)
    failed = sum(finding.state == "fail" for finding in findings)
    if as_json:
        show_json([finding._asdict() for finding in findings])
    else:
        click.echo(f"\n{failed} failed" if failed else "\nnothing is wrong")
    sys.exit(1 if failed else 0)


def _show(name: str, state: str, detail: str, fix: str) -> None:
    mark, colour = _MARKS[state]
    click.echo(f"{click.style(mark, fg=colour, bold=True)} {name:<{_NAME_WIDTH}}  {detail}")
    if fix:
        click.echo(f"  {'':<{_NAME_WIDTH}}  {click.style('→', dim=True)} {fix}")
