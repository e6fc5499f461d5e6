"""The journey in README.md, typed as it stands there, brings the answers that stand there."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Stack, StartStack
from tests.e2e.readme import require_answer, steps, type_in

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def stack(start_stack: StartStack, empty_directory: Path) -> Stack:
    return start_stack(empty_directory)


def test_the_journey_as_it_stands_brings_the_answers_that_stand_there(stack: Stack) -> None:
    journey = steps("The journey")
    assert sum(bool(step.answer) for step in journey) >= 3
    for step, answer in zip(journey, type_in(journey, stack), strict=True):
        require_answer(step, answer)
