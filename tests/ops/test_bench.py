"""The bench's own judgement: what wrk says, what a peer must show, what is met and what is missed."""

import jwt
import pytest

from ops.bench.issuer import Issuer, forged
from ops.bench.load import Answered, BadAnswer, Request, _read
from ops.bench.report import load_section, ratio_goal
from ops.bench.rounds import Figures, Outcome, summary
from ops.soak.watching import Sample, slope

SAID = """  Latency Distribution
     50%    1.50ms
     75%    2.00ms
     90%    3.00ms
     99%  812.00us
  3000 requests in 2.00s, 1.5MB read
"""
REQUEST = Request("http://127.0.0.1:1/bench")


def outcome(cpu_us: float) -> Outcome:
    return summary([Figures(cpu_us, 1000, 1, 2)])


def test_what_wrk_says_is_read_with_its_units() -> None:
    assert _read(SAID, REQUEST) == Answered(3000, 2.0, 1.5, pytest.approx(0.812))


@pytest.mark.parametrize("said", ["Socket errors: connect 0, read 3", "Non-2xx or 3xx responses: 1"])
def test_one_failed_request_makes_a_measurement_worthless(said: str) -> None:
    with pytest.raises(BadAnswer, match=said[:10]):
        _read(SAID + said, REQUEST)


def test_where_refusals_are_measured_an_answer_that_is_none_is_the_fault() -> None:
    refused = Request(REQUEST.url, is_refused=True)
    assert _read(SAID + "Non-2xx or 3xx responses: 3000", refused).requests == 3000
    with pytest.raises(BadAnswer, match="2999 of 3000"):
        _read(SAID + "Non-2xx or 3xx responses: 2999", refused)


@pytest.mark.parametrize("algorithm", ["EdDSA", "HS256"])
def test_forged_token_says_the_same_under_a_signature_that_is_none(algorithm: str) -> None:
    issuer = Issuer()
    token = issuer.token(algorithm)
    key = jwt.PyJWK(issuer.jwk).key if algorithm == "EdDSA" else issuer.shared_secret
    claims = jwt.decode(token, key, [algorithm], audience="gatehouse-api")
    assert jwt.decode(forged(token), options={"verify_signature": False}) == claims
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(forged(token), key, [algorithm], audience="gatehouse-api")


def test_ratio_is_met_or_missed_and_left_out_for_what_was_not_measured() -> None:
    section = load_section("x", {"edge": outcome(50), "nginx + Lua": outcome(45)})
    ratio_goal(section, "edge", "nginx + Lua", 1.25)
    ratio_goal(section, "edge", "nginx + Lua", 1.0)
    ratio_goal(section, "edge", "Caddy", 1.0)
    assert [(goal.figure, goal.is_met) for goal in section.goals] == [("1.11×", True), ("1.11×", False)]
    assert "| nginx + Lua | 45.0 |" in section.markdown()


def test_rounds_are_summed_up_by_their_median_and_spread() -> None:
    found = summary([Figures(cost, 1, 1, 1) for cost in (40, 90, 50)])
    assert (found.median.cpu_us, found.cpu_us_least, found.cpu_us_most) == (50, 40, 90)


def test_slope_is_in_bytes_a_minute() -> None:
    assert slope([Sample(second, 1_000_000 + 10 * second) for second in range(60)]) == pytest.approx(600)
