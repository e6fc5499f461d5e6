"""Ten thousand routes, users or keys: does one request cost more than with ten?"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from common import api_keys
from ops.bench.load import Request, load, tool
from ops.bench.peers import edge
from ops.bench.report import Section, load_section, ratio_goal
from ops.bench.rounds import Outcome, Subject, compare
from ops.bench.setting import Bench

_FEW, _MANY = 10, 10_000
_MOST = 1.1
_KNOWN_SECONDS = 2


def run(bench: Bench) -> Iterator[Section]:
    title = f"{_MANY} of something instead of {_FEW}"
    if tool() != "wrk":
        yield Section(
            title, (), skipped={"edge": "only wrk sends thousands of different requests: apt-get install wrk"}
        )
        return
    few, few_keys = f"{_FEW} routes and users", f"{_FEW} keys"
    with ExitStack() as stack:
        outcomes = _compare(
            bench,
            {
                few: _subject(bench, stack, _FEW, _tokens(bench, _FEW)),
                f"{_MANY} routes": _subject(bench, stack, _MANY, _tokens(bench, _FEW)),
                f"{_MANY} users": _subject(bench, stack, _FEW, _tokens(bench, _MANY)),
            },
        )
    # By themselves: a key is asked for again every ten seconds, which the turns of others must not be.
    with ExitStack() as stack:
        outcomes |= _compare(
            bench,
            {
                few_keys: _subject(bench, stack, _FEW, _keys(_FEW)),
                f"{_MANY} keys": _subject(bench, stack, _FEW, _keys(_MANY)),
            },
        )
    section = load_section(title, outcomes)
    ratio_goal(section, f"{_MANY} routes", few, _MOST)
    ratio_goal(section, f"{_MANY} users", few, _MOST)
    ratio_goal(section, f"{_MANY} keys", few_keys, _MOST)
    yield section


def _compare(bench: Bench, subjects: Mapping[str, Subject]) -> dict[str, Outcome]:
    for subject in subjects.values():
        _make_known(subject)
    return compare(subjects, rounds=bench.rounds, seconds=bench.seconds)


def _make_known(subject: Subject) -> None:
    """Until each caller has been seen: verifying a token for the first time is no part of what is asked."""
    sent = 0
    while sent < len(subject.request.several):
        sent += load(subject.request, _KNOWN_SECONDS).requests


def _subject(bench: Bench, stack: ExitStack, routes: int, credentials: Sequence[str]) -> Subject:
    """An edge with so many routes, asked for each of them and by each caller in turn."""
    setting = bench.setting("edge")
    entry = '[[route]]\npath = "/r/%d"\nupstream = "it"\nlimits = ["general"]\n'
    edge.add_routes(setting, "".join(entry % number for number in range(routes)))
    running = stack.enter_context(edge.run(setting))
    count = max(routes, len(credentials))
    several = [(f"/r/{number % routes}", f"Bearer {credentials[number % len(credentials)]}") for number in range(count)]
    return Subject(running, Request(running.url, several=several))


def _tokens(bench: Bench, count: int) -> list[str]:
    return [bench.issuer.token("EdDSA", user) for user in range(count)]


def _keys(count: int) -> list[str]:
    return [api_keys.make() for _ in range(count)]
