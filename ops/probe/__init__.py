"""Looks at the stack as its clients see it, every few minutes, and tells when something changes.

One probe asks `/health/ready` once, appends a line to `$GATEHOUSE_VAR/logs/probe.log`, and calls the alert hook when a
problem begins, once a day while it lasts, and when it has ended (`ops/probe/incidents.py`). From cron, where there
is no systemd timer:

    */5 * * * *  /usr/local/bin/gatehouse probe >/dev/null
"""

from ops.probe.outcome import Outcome, probe
from ops.probe.target import target

__all__ = ["Outcome", "probe", "target"]
