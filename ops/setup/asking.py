"""The questions of `gatehouse setup`. An answer is judged where it is given, and asked for again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from ops.setup.answers import Answers, default_workers, faults, judged, shown

_QUESTIONS = {
    "domains": "Hosts served, comma-separated (api.example.com)",
    "email": "Your e-mail address (first admin; certificates)",
    "database": "PostgreSQL: {choices}",
    "store": "Valkey or Redis: {choices}",
    "front": "In front, for TLS: nginx, caddy or none",
    "workers": "Worker processes of each service",
    "port": "Port of the edge",
    "alert_hook": "Program or URL that is told when something fails (empty: none)",
}
_CHOICES = {True: "local, or a URL", False: "embedded, or a URL"}


def collect(
    given: Mapping[str, str], before: Mapping[str, Any], *, is_host: bool, asks: bool
) -> tuple[Answers, list[str]]:
    """The answers, and what is wrong with them, all at once.

    `given` are options as typed; then counts `before`, the answers of an earlier run, then defaults, unless it `asks`.
    """
    wrong, values = {}, {}
    for name, text in given.items():
        try:
            values[name] = judged(name, text)
        except ValueError as error:
            wrong[name] = f"--{name.replace('_', '-')}: {error}"
    defaults: dict[str, Any] = {"workers": default_workers()}
    defaults |= {} if is_host else {"database": "embedded", "store": "embedded"}
    made_there = {"database": "managed"} if values.get("admin_url") and "database" not in values else {}
    answers = replace(Answers(), **{**defaults, **before, **values, **made_there})
    if asks and not wrong:
        answers = ask(answers, set(values), is_host=is_host)
    # What was typed wrong is not among the answers; its default is not to be blamed too.
    others = [fault for fault in faults(answers) if fault.partition(":")[0] not in _options(wrong)]
    return answers, [*wrong.values(), *others]


def _options(names: Mapping[str, str]) -> set[str]:
    return {f"--{name.replace('_', '-')}" for name in names}


def ask(answers: Answers, given: set[str], *, is_host: bool) -> Answers:
    """Asks for what was not `given` as an option; the answers so far are the defaults."""
    for name, question in _QUESTIONS.items():
        if name in given or (name == "front" and not is_host) or (name == "database" and answers.admin_url):
            continue
        text = question.format(choices=_CHOICES[is_host])
        default = getattr(answers, name)
        answers = replace(answers, **{name: _answer(name, text, default)})
    return answers


def _answer(name: str, text: str, default: Any) -> Any:
    def convert(typed: str) -> Any:
        try:
            return judged(name, str(typed))
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    offered = None if default == "" and name != "alert_hook" else default
    told = shown(str(default))  # the default itself may hold a password
    text = f"{text} [{told}]" if told else text
    return click.prompt(text, default=offered, value_proc=convert, show_default=False, err=True)
