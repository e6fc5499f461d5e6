"""One step of a set-up, and how a list of them is gone through."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Tell = Callable[[str, list[str]], None]


@dataclass(frozen=True)
class Step:
    """`work` returns what it did, a sentence each; nothing when everything was as it should be."""

    name: str
    work: Callable[[], list[str]]


def go(steps: Iterable[Step], tell: Tell) -> list[str]:
    """Names of the steps that did something. Each is told when it is over. Raises StackError."""
    changed = []
    for step in steps:
        done = step.work()
        tell(step.name, done)
        if done:
            changed.append(step.name)
    return changed
