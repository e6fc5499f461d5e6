import pytest

from common.limits.rules import CostTooLargeError, Rule, decide


def test_setting_is_count_per_seconds() -> None:
    assert Rule.parse("general", "100/60") == Rule("general", 100, 60)
    assert Rule.parse("burst", " 3 / 0.5 ") == Rule("burst", 3, 0.5)


@pytest.mark.parametrize("setting", ["", "100", "100/", "/60", "a/b", "100/60/1", "-1/60", "0/60", "100/0", "1.5/60"])
def test_setting_that_is_no_limit_is_refused_by_name(setting: str) -> None:
    with pytest.raises(ValueError, match="limit general"):
        Rule.parse("general", setting)


@pytest.mark.parametrize("name", ["", "a:b", "a}b", "a b"])
def test_name_that_would_confuse_keys_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="letters"):
        Rule(name, 1, 1)


def test_cost_that_can_never_pass_is_refused() -> None:
    email = Rule("email", 100, 3600)
    assert email.at_cost(100).cost == 100
    with pytest.raises(CostTooLargeError):
        email.at_cost(101)
    with pytest.raises(ValueError, match="above zero"):
        email.at_cost(0)


def test_admitted_call_shows_the_rule_with_fewest_remaining() -> None:
    rules = (Rule("general", 100, 60), Rule("search", 60, 60))
    reply = [1, 7_000_000, 95, 60_000_001, 0, 10, 50_000_000, 0]
    decision = decide(rules, reply, [100, 60], degraded=False)
    assert decision == (True, "general", 100, 5, 61, None, False)


def test_refused_call_shows_the_rule_that_refuses_longest() -> None:
    rules = (Rule("general", 100, 60), Rule("search", 60, 60), Rule("ai", 50, 3600))
    reply = [0, 7_000_000, 100, 9_000_000, 2_000_000, 60, 20_000_000, 13_000_001, 0, 3_607_000_000, 0]
    decision = decide(rules, reply, [100, 60, 50], degraded=False)
    assert decision == (False, "search", 60, 0, 20, 14, False)


def test_retry_after_is_never_zero() -> None:
    decision = decide((Rule("general", 1, 1),), [0, 0, 1, 1, 1], [1], degraded=False)
    assert decision.retry_after == 1
