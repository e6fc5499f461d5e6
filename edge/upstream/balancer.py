"""Which of an upstream's servers a request goes to, and which are left out for now."""

import math
from collections.abc import Collection, Mapping, Sequence
from random import random

import structlog

from edge.upstream.server import FAILURES_MAX, Server

log = structlog.get_logger()
# Of the servers that have a weight. With more ejected, the fault is more likely ours, or everybody's.
EJECTED_SHARE_MAX = 0.5
# With fewer left than this, all are used again: the few would break down under what was meant for many.
PANIC_SHARE = 0.5
_LATENCY_RATIO = 2.0  # nearer than this, two latencies are the same
_REFRESH_SECONDS = 0.5


class Balancer:
    """Power of two choices: the server whose turn it is by weight, or another one that is clearly less loaded.

    Turns are smooth weighted round robin, so weights are kept exactly while nobody is overloaded. The other one is any,
    at random (Mitzenmacher 2001); load is requests in flight × latency, for the weight.
    """

    def __init__(self, name: str, servers: Sequence[Server]) -> None:
        self.name = name
        self.servers = tuple(servers)
        self.is_panicking = False
        self._in_use: list[tuple[Server, float]] = []  # with their shares
        self._total = 0.0
        self._refresh_at = -math.inf

    def choose(self, now: float) -> Server:
        if now >= self._refresh_at:
            self._refresh(now)
        in_use = self._in_use
        if len(in_use) == 1:
            return in_use[0][0]
        index = self._turn()
        turn = in_use[index]
        if turn[0].is_unasked(now):
            return turn[0]
        other = int(random() * (len(in_use) - 1))
        candidate = in_use[other + (other >= index)]
        return candidate[0] if _is_less_loaded(candidate, turn, now) else turn[0]

    def choose_another(self, tried: Collection[Server], now: float) -> Server | None:
        """For a request that failed on `tried`: the least loaded of the others, those in use first; None after all."""
        if now >= self._refresh_at:
            self._refresh(now)
        others = [(server, share) for server, share in self._in_use if server not in tried]
        others = others or [(server, 1.0) for server in self._weighed() if server not in tried]
        loads = [((server.pool.in_flight + 1) * server.latency(now) / share, server) for server, share in others]
        return min(loads, key=lambda load: load[0], default=(0.0, None))[1]

    def _turn(self) -> int:
        """The index of the server whose turn it is (nginx's smooth weighted round robin)."""
        best, most = 0, -math.inf
        for index, (server, share) in enumerate(self._in_use):
            server.turn += share
            if server.turn > most:
                best, most = index, server.turn
        self._in_use[best][0].turn -= self._total
        return best

    def _weighed(self) -> list[Server]:
        """Those with a weight; all, when weights would leave nobody: a file is no reason for an outage."""
        return [server for server in self.servers if server.weight] or list(self.servers)

    def _refresh(self, now: float) -> None:
        weighed = self._weighed()
        good = [server for server in weighed if server.out is None]
        self._panic(len(good) < len(weighed) * PANIC_SHARE)
        self._in_use = [(server, server.share(now) or 1.0) for server in (weighed if self.is_panicking else good)]
        self._total = sum(share for _, share in self._in_use)
        is_starting = any(server.is_starting(now) for server in weighed)
        self._refresh_at = now + _REFRESH_SECONDS if is_starting else math.inf

    def _panic(self, is_panicking: bool) -> None:
        if is_panicking != self.is_panicking:
            self.is_panicking = is_panicking
            log.warning("upstream_panic" if is_panicking else "upstream_panic_over", upstream=self.name)

    # --- what changes the choice -------------------------------------------------------------------------------

    def weigh(self, weights: Mapping[str, int]) -> None:
        """Weights by URL; a server that is not named has 1."""
        for server in self.servers:
            server.weight = weights.get(server.url, 1)
        self._changed()

    def failed(self, server: Server, now: float, *, is_unreachable: bool) -> None:
        """A request failed. Ejects the server when it accepts no connection, or failed too often in a row."""
        server.failed(now)
        if (is_unreachable or server.failures_in_a_row >= FAILURES_MAX) and self._may_eject(server):
            server.fall("ejected", now)
            log.warning("server_ejected", upstream=self.name, server=server.url, seconds=server.out_seconds)
            self._changed()

    def _may_eject(self, server: Server) -> bool:
        weighed = self._weighed()
        ejected = sum(other.out == "ejected" for other in weighed)
        return server.out is None and server in weighed and ejected + 1 <= len(weighed) * EJECTED_SHARE_MAX

    def checked(self, server: Server, now: float, *, fault: str | None, seconds_max: float) -> None:
        """A check ended; without a fault the server is back, or still good. `seconds_max`: until the next, at most."""
        if fault is not None:
            if server.out != "unhealthy":
                log.warning("server_unhealthy", upstream=self.name, server=server.url, fault=fault)
            server.fall("unhealthy", now, seconds_max)
            self._changed()
        elif server.out is not None:
            server.rise(now)
            log.info("server_back", upstream=self.name, server=server.url)
            self._changed()

    def _changed(self) -> None:
        self._refresh_at = -math.inf
        for server in self.servers:
            server.turn = 0.0  # debts in the old shares would be paid in the new ones


def _is_less_loaded(candidate: tuple[Server, float], turn: tuple[Server, float], now: float) -> bool:
    """Whether `candidate`, with the request, is less loaded than the server whose turn it is.

    Among servers of one share the request counts on both sides. Where shares differ it counts for the candidate only:
    a light server is not passed over for being light, nor a canary for being cold.
    """
    (one, one_share), (other, other_share) = turn, candidate
    ratio = one.latency(now) / other.latency(now)
    if 1 / _LATENCY_RATIO <= ratio <= _LATENCY_RATIO:
        ratio = 1.0
    own = 1 if one_share == other_share else 0
    return (one.pool.in_flight + own) * ratio * other_share > (other.pool.in_flight + 1) * one_share
