import pytest

from common.limits.denials import SECONDS_MAX, Denials
from common.limits.rules import Answer, Rule

RULE = Rule("general", 10, 60)


def remembered(rule: Rule = RULE, wait: int = 8_000_000, leaves_in: int = 8_000_000) -> Denials:
    denials = Denials()
    answer = Answer(used=10, leaves=1_000_000_000 + leaves_in, wait=wait)
    denials.remember("key", rule, answer, clock=1_000_000_000, sent=100.0, received=100.25)
    return denials


def test_refusal_ends_before_the_store_could_admit() -> None:
    denials = remembered()
    assert denials.find("key", RULE, 107.9) is not None
    assert denials.find("key", RULE, 108.0) is None
    assert len(denials) == 0


def test_retry_after_is_counted_from_the_receipt() -> None:
    denial = remembered().find("key", RULE, 101.0)
    assert denial is not None
    assert denial.decision(RULE, 101.0) == (False, "general", 10, 0, 1008, 8, False)
    assert denial.decision(RULE, 101.25).retry_after == 7
    assert denial.decision(RULE, 107.99).retry_after == 1


@pytest.mark.parametrize(
    "other", [RULE.at_cost(2), Rule("general", 11, 60), Rule("general", 10, 30)], ids=["cost", "limit", "window"]
)
def test_refusal_holds_for_the_same_rule_and_cost_only(other: Rule) -> None:
    assert remembered().find("key", other, 101.0) is None


def test_refusal_of_a_cost_is_asked_again_when_a_call_leaves() -> None:
    denials = remembered(RULE.at_cost(3), leaves_in=2_000_000)
    assert denials.find("key", RULE.at_cost(3), 101.0) is not None
    assert denials.find("key", RULE.at_cost(3), 102.0) is None


def test_long_refusal_is_asked_again_within_a_minute() -> None:
    denials = remembered(wait=900_000_000, leaves_in=900_000_000)
    denial = denials.find("key", RULE, 101.0)
    assert denial is not None
    assert denial.decision(RULE, 101.0).retry_after == 900
    assert denials.find("key", RULE, 100.0 + SECONDS_MAX) is None


def test_number_of_refusals_is_bounded() -> None:
    denials = Denials(entries_max=3)
    for i in range(10):
        denials.remember(f"key{i}", RULE, Answer(10, 9_000_000, 8_000_000), clock=1_000_000, sent=1.0, received=1.0)
    assert len(denials) == 3
    assert denials.find("key9", RULE, 2.0) is not None
