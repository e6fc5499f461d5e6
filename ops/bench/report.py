"""What was found: sections with a table each, as Markdown for people and documents and as JSON for programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.bench.rounds import Outcome


@dataclass(frozen=True)
class Goal:
    """What was to be reached, what was, and whether that is enough."""

    text: str
    figure: str
    is_met: bool

    @property
    def line(self) -> str:
        return f"- {self.text}: {self.figure}, **{'met' if self.is_met else 'missed'}**"


@dataclass
class Section:
    """`skipped` names what could not be measured, with the reason."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        if self.rows:
            rule = ["---", *["---:"] * (len(self.columns) - 1)]
            lines += [_row(self.columns), _row(rule), *map(_row, self.rows), ""]
        lines += [goal.line for goal in self.goals]
        lines += [f"- not measured: {name}: {reason}" for name, reason in self.skipped.items()]
        lines += ["", *self.notes] if self.notes else []
        return "\n".join(lines)


COLUMNS = ("what", "CPU µs per request", "least–most", "requests/s", "p50 ms", "p99 ms")


def load_row(name: str, outcome: Outcome) -> Sequence[str]:
    """One row under COLUMNS."""
    median = outcome.median
    spread = f"{outcome.cpu_us_least:.0f}–{outcome.cpu_us_most:.0f}"
    times = (f"{median.p50_ms:.2f}", f"{median.p99_ms:.2f}")
    return (name, f"{median.cpu_us:.1f}", spread, f"{median.per_second:.0f}", *times)


def load_section(title: str, outcomes: dict[str, Outcome]) -> Section:
    """A row for each, in the order of their cost."""
    section = Section(title, COLUMNS)
    for name, outcome in sorted(outcomes.items(), key=lambda item: item[1].median.cpu_us):
        section.rows.append(load_row(name, outcome))
        section.figures[name] = {
            **outcome.median._asdict(),
            "cpu_us_least": outcome.cpu_us_least,
            "cpu_us_most": outcome.cpu_us_most,
        }
    return section


def ratio_goal(section: Section, of: str, to: str, most: float, aim: str = "") -> None:
    """Notes whether `of` costs at most `most` times what `to` costs, where both were measured."""
    costs = [section.figures[name]["cpu_us"] for name in (of, to) if name in section.figures]
    if len(costs) == 2:
        ratio = costs[0] / costs[1]
        text = f"{of} : {to}, CPU per request ≤ {most:g}×{aim}"
        section.goals.append(Goal(text, f"{ratio:.2f}×", ratio <= most))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
