"""Exact rate limits over all processes: at most N in any window.

`Limiter.check(subject, rules)` runs script.lua on a Valkey or Redis: a sliding-window log by the server's clock, one
list of admission times for each rule of the subject, admitted in all of them or in none. What callers may rely on:

- at most `limit` units of cost in any half-open interval of `window_seconds`, whichever processes the calls came to;
- a refused call passes once its `retry_after` seconds have gone by, unless other calls of the subject came first;
- checks made within one turn of the event loop leave in one round trip, and a refusal is remembered locally until it
  ends, so that a flood costs the store nothing;
- the store may be a cluster, which it says itself: each node has its own connection and batch, and one that is away
  takes its own keys alone into memory;
- a store that is away, stalled or refuses writes never fails a call: each worker then enforces max(1, limit // workers)
  in its own memory, approximately and marked `degraded` (a cost above that part counts as the part).
"""

from common.limits.limiter import Counts, Limiter
from common.limits.rules import CostTooLargeError, Decision, Rule
from common.valkey import connect

__all__ = ["CostTooLargeError", "Counts", "Decision", "Limiter", "Rule", "connect"]
