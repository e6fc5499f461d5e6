"""`ab -n 1000 -c 10`, as two deployment guides test with it before a launch."""

import re
import shutil
import subprocess
from typing import NamedTuple

REQUESTS, AT_ONCE = 1000, 10
COMMAND = f"ab -n {REQUESTS} -c {AT_ONCE}"
_TIMEOUT_SECONDS = 120


class Ab(NamedTuple):
    """What ab said: answered requests a second, failed ones (answers other than 2xx too), milliseconds."""

    per_second: float
    failed: int
    p50_ms: float
    p95_ms: float
    max_ms: float


class AbFailed(Exception):
    """It gave up; str() is its last line."""


def run(url: str, token: str) -> Ab | None:
    """None where ab is not installed. Raises AbFailed."""
    program = shutil.which("ab")
    if program is None:
        return None
    # -l: other answers' lengths may differ; what counts is the status, which ab reports apart.
    words = [program, "-q", "-l", "-n", str(REQUESTS), "-c", str(AT_ONCE), "-H", f"Authorization: Bearer {token}", url]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise AbFailed(f"{COMMAND} was not done after {_TIMEOUT_SECONDS} s") from None
    if done.returncode:
        raise AbFailed((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    return read(done.stdout)


def read(said: str) -> Ab:
    """ab's report as figures."""
    refused = re.search(r"Non-2xx responses:\s+(\d+)", said)
    return Ab(
        per_second=_figure(r"Requests per second:\s+([\d.]+)", said),
        failed=int(_figure(r"Failed requests:\s+(\d+)", said)) + (int(refused[1]) if refused else 0),
        p50_ms=_figure(r"\b50%\s+(\d+)", said),
        p95_ms=_figure(r"\b95%\s+(\d+)", said),
        max_ms=_figure(r"\b100%\s+(\d+)", said),
    )


def _figure(pattern: str, said: str) -> float:
    found = re.search(pattern, said)
    if found is None:
        raise AbFailed(f"{COMMAND} said nothing that matches {pattern}")
    return float(found[1])
