"""The rules of balancing, without a network: whom a request goes to, who is left out, and how they come back."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.upstream.balancer import Balancer
from edge.upstream.server import FAILURES_MAX, OUT_SECONDS_MAX, SLOW_START_SECONDS, Server


def balancer(*weights: int) -> Balancer:
    async def servers() -> list[Server]:  # a pool wants a loop, though nothing is sent here
        return [Server(f"http://s{number}:1", weight=weight) for number, weight in enumerate(weights)]

    with asyncio.Runner() as runner:
        return Balancer("it", runner.run(servers()))


def picks(balance: Balancer, count: int, now: float = 0) -> Counter[int]:
    return Counter(balance.servers.index(balance.choose(now)) for _ in range(count))


def fail(balance: Balancer, server: Server, now: float, times: int = FAILURES_MAX) -> None:
    for _ in range(times):
        balance.failed(server, now, is_unreachable=False)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6).filter(any))
def test_idle_servers_get_exactly_what_they_weigh(weights: list[int]) -> None:
    # Equal latencies, nothing in flight: after each full round the shares are exact.
    counts = picks(balancer(*weights), 3 * sum(weights))
    assert [counts[index] for index in range(len(weights))] == [3 * weight for weight in weights]


@given(st.lists(st.integers(0, 50), min_size=2, max_size=2))
def test_of_two_equal_servers_the_less_loaded_one_is_taken(in_flight: list[int]) -> None:
    balance = balancer(1, 1)
    for server, count in zip(balance.servers, in_flight, strict=True):
        server.pool.in_flight = count
    taken = picks(balance, 10)
    if in_flight[0] != in_flight[1]:
        assert taken == {in_flight.index(min(in_flight)): 10}
    else:
        assert taken == {0: 5, 1: 5}


def test_slow_server_is_passed_over_until_the_fast_ones_are_busy() -> None:
    balance = balancer(1, 1)
    slow, fast = balance.servers
    for moment in range(8):
        slow.answered(0.1, moment / 10)
        fast.answered(0.005, moment / 10)
    assert picks(balance, 10, now=0.9) == {1: 10}
    fast.pool.in_flight = 200
    assert picks(balance, 10, now=0.9) == {0: 10}


def test_one_slow_answer_is_forgotten_within_seconds() -> None:
    balance = balancer(1, 1)
    for server in balance.servers:
        server.answered(0.01, 0)
        server.answered(0.01, 0)
    slow, fast = balance.servers
    slow.answered(10.0, 0)
    assert picks(balance, 10, now=0) == {1: 10}
    slow.pool.in_flight = fast.pool.in_flight = 1  # or it would have its turn for not having been asked
    fast.answered(0.01, 5)
    assert picks(balance, 10, now=5) == {0: 5, 1: 5}


def test_client_that_left_an_answer_waiting_counts_as_slowness_but_no_failure() -> None:
    server = balancer(1).servers[0]
    server.left_waiting(3.0, 0)
    assert server.latency(0) > 0.003
    assert server.failures == 0
    before = server.latency(0)
    server.left_waiting(0.0, 0)
    assert server.latency(0) == before


def test_light_server_keeps_its_share_while_the_heavy_one_works() -> None:
    """A canary must get what was asked for, at every load: each request stays in flight for twenty choices."""
    balance = balancer(9, 1)
    flying: list[Server] = []
    counts: Counter[str] = Counter()
    for _ in range(2000):
        chosen = balance.choose(0)
        counts[chosen.url] += 1
        chosen.pool.in_flight += 1
        flying.append(chosen)
        if len(flying) > 20:
            flying.pop(0).pool.in_flight -= 1
    assert counts["http://s1:1"] == pytest.approx(200, rel=0.1)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=7).filter(any),
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["fail", "refuse", "answer", "back"])), max_size=120),
)
def test_never_more_than_half_are_ejected_and_somebody_is_always_chosen(
    weights: list[int], events: list[tuple[int, str]]
) -> None:
    balance = balancer(*weights)
    weighed = [server for server in balance.servers if server.weight]
    for now, (number, what) in enumerate(events):
        server = balance.servers[number % len(weights)]
        if what == "answer":
            server.answered(0.01, now)
        elif what == "back":
            balance.checked(server, now, fault=None, seconds_max=30)
        else:
            balance.failed(server, now, is_unreachable=what == "refuse")
        assert sum(server.out == "ejected" for server in weighed) <= len(weighed) / 2
        chosen = balance.choose(now)
        assert chosen in weighed
        assert chosen.out is None  # half are always left, so there is no panic without checks that fail


def test_connection_refused_ejects_at_once_and_failures_only_in_a_row() -> None:
    balance = balancer(1, 1)
    first, second = balance.servers
    for _ in range(3):
        fail(balance, first, 0, FAILURES_MAX - 1)
        first.answered(0.01, 0)
    assert first.out is None
    balance.failed(second, 0, is_unreachable=True)
    assert second.out == "ejected"
    assert picks(balance, 4) == {0: 4}


def test_only_server_with_a_weight_is_never_ejected() -> None:
    balance = balancer(1, 0)
    fail(balance, balance.servers[0], 0, 50)
    assert balance.servers[0].out is None
    assert picks(balance, 4) == {0: 4}


def test_half_open_server_is_ejected_by_its_first_failure_for_twice_as_long() -> None:
    balance = balancer(1, 1)
    server = balance.servers[0]
    fail(balance, server, 0)
    seconds, now = [server.out_seconds], 0.0
    for _ in range(7):
        now += server.out_seconds
        balance.checked(server, now, fault=None, seconds_max=OUT_SECONDS_MAX)
        assert server.out is None
        fail(balance, server, now, 1)
        seconds.append(server.out_seconds)
    assert seconds == [1, 2, 4, 8, 16, 30, 30, 30]
    # Once it has served for a while, it is as good as any.
    balance.checked(server, now, fault=None, seconds_max=OUT_SECONDS_MAX)
    server.answered(0.01, now)
    fail(balance, server, now + SLOW_START_SECONDS + 1)
    assert server.out_seconds == 1


def test_recovered_server_starts_slowly() -> None:
    balance = balancer(1, 1)
    server = balance.servers[0]
    balance.failed(server, 0, is_unreachable=True)
    balance.checked(server, 100, fault=None, seconds_max=OUT_SECONDS_MAX)
    server.answered(0.001, 100)
    assert server.condition(100) == "slow-start"
    shares = [picks(balance, 110, now=moment)[0] for moment in (100, 115, 131)]
    assert shares == [pytest.approx(10, abs=1), pytest.approx(110 / 3, abs=2), 55]
    assert server.condition(131) == "healthy"


def test_slow_or_failing_server_is_tried_again_when_it_was_not_asked_for_a_second() -> None:
    balance = balancer(1, 1)
    bad, good = balance.servers
    balance.failed(bad, 10, is_unreachable=False)
    good.answered(0.001, 10)
    assert picks(balance, 10, now=10.9) == {1: 10}
    good.answered(0.001, 11)
    assert picks(balance, 2, now=11) == {0: 1, 1: 1}
    bad.pool.in_flight = 1  # it is being tried: once is enough
    assert picks(balance, 10, now=11) == {1: 10}
    bad.pool.in_flight = 0
    bad.answered(0.001, 11)
    assert picks(balance, 10, now=11) == {0: 5, 1: 5}


def test_failing_fast_attracts_nobody() -> None:
    balance = balancer(1, 1)
    balance.failed(balance.servers[0], 0, is_unreachable=False)
    assert picks(balance, 20) == {1: 20}


def test_too_few_good_servers_are_not_left_alone() -> None:
    balance = balancer(1, 1, 1, 1)
    for server in balance.servers[:2]:
        balance.checked(server, 0, fault="503", seconds_max=30)
    assert picks(balance, 40).keys() == {2, 3}
    balance.checked(balance.servers[2], 0, fault="503", seconds_max=30)
    assert picks(balance, 40).keys() == {0, 1, 2, 3}
    assert balance.is_panicking
    balance.checked(balance.servers[0], 0, fault=None, seconds_max=30)
    assert picks(balance, 40).keys() == {0, 3}


def test_another_server_is_one_that_was_not_tried_and_the_bad_ones_come_last() -> None:
    balance = balancer(1, 1, 1, 0)
    first, second, third, drained = balance.servers
    balance.failed(third, 0, is_unreachable=True)
    assert balance.choose_another([first], 0) is second
    assert balance.choose_another([first, second], 0) is third
    assert balance.choose_another([first, second, third], 0) is None
    assert drained.weight == 0


def test_weights_that_leave_nobody_are_not_obeyed() -> None:
    balance = balancer(1, 1)
    balance.weigh({server.url: 0 for server in balance.servers})
    assert picks(balance, 4) == {0: 2, 1: 2}


def test_new_weights_hold_from_the_next_request() -> None:
    balance = balancer(1000, 1)
    picks(balance, 1500)
    balance.weigh({server.url: 1 for server in balance.servers})
    assert picks(balance, 20) == {0: 10, 1: 10}
