"""Tells somebody that something is wrong: the hook that ALERT_HOOK names, a program or a URL.

A program gets the subject as its argument and the message on standard input; a URL gets the message as a POST:
`{"subject", "detail", "host", "time", "service": "gatehouse", "version"}`. Exit status 0 and any 2xx are success.

python -m ops.alerts SUBJECT [DETAIL]     the same as `gatehouse alert`; systemd's OnFailure= uses it
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common.settings import SettingsError, variable

SECONDS_MAX = 10.0
NOT_SET = "ALERT_HOOK is not set: name a program or an http(s) URL that alerts go to"


class AlertError(Exception):
    """The hook did not take the alert; the text says why and holds no path or query of its URL, which may be secret."""


def alert(
    subject: str, detail: str, *, environ: Mapping[str, str] | None = None, seconds_max: float = SECONDS_MAX
) -> bool:
    """Whether the hook took it; blocks up to `seconds_max`.

    Never raises: who tells about a failure must be able to go on. False, without a word, where no hook is set; a hook
    that failed is told on standard error.
    """
    try:
        return deliver(subject, detail, environ=environ, seconds_max=seconds_max)
    except AlertError as error:
        print(f"the alert {subject!r} was not delivered: {error}", file=sys.stderr, flush=True)
        return False


def deliver(
    subject: str, detail: str, *, environ: Mapping[str, str] | None = None, seconds_max: float = SECONDS_MAX
) -> bool:
    """False where no hook is set. Raises AlertError when the hook did not take it."""
    try:
        hook = variable("ALERT_HOOK", environ)
    except SettingsError as error:
        raise AlertError(str(error)) from None
    if hook:
        var = Path(variable("GATEHOUSE_VAR", environ) or "var")
        _send(hook, subject, detail, seconds_max, var)
    return bool(hook)


def _send(hook: str, subject: str, detail: str, seconds_max: float, var: Path) -> None:
    subject = " ".join(subject.replace("\0", " ").split())
    message = json.dumps(
        {
            "subject": subject,
            "detail": detail,
            "host": socket.gethostname(),
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "service": "gatehouse",
            "version": version("gatehouse"),
        }
    ).encode()
    if hook.lower().startswith(("http://", "https://")):
        _post(hook, message, seconds_max)
    else:
        _run(hook, subject, message, seconds_max, _as_owner(var))


def _as_owner(var: Path) -> dict[str, Any]:
    """How a program is started: root's as the owner of the state directory, who may name the hook in a file there."""
    if os.geteuid() != 0 or not var.is_dir() or (owner := var.stat()).st_uid == 0:
        return {}
    # Root's own directories are closed to them.
    environ = {**os.environ, "HOME": str(var)}
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": [], "cwd": "/", "env": environ}


def _run(program: str, subject: str, message: bytes, seconds_max: float, started: Mapping[str, Any]) -> None:
    argument = subject.encode("utf-8", "replace")
    try:
        # Its output goes to our standard error, ours may be read by a program. In a session of its own its children
        # can be ended with it.
        process = subprocess.Popen(
            [program, argument], stdin=subprocess.PIPE, stdout=2, stderr=2, start_new_session=True, **started
        )
    except (OSError, ValueError) as error:
        raise AlertError(f"ALERT_HOOK {program} cannot be run: {getattr(error, 'strerror', error)}") from None
    with process:
        try:
            process.communicate(message, timeout=seconds_max)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise AlertError(f"ALERT_HOOK {program} was not done after {seconds_max:g} s") from None
    if process.returncode:
        raise AlertError(f"ALERT_HOOK {program} ended with exit status {process.returncode}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its message."""

    def redirect_request(self, *_: object) -> None:
        return None


def _post(url: str, message: bytes, seconds_max: float) -> None:
    """In a thread: neither a name server nor one byte at a time may hold us up longer than we said."""
    outcome: list[str] = []
    thread = threading.Thread(target=lambda: outcome.append(_posted(url, message, seconds_max)), daemon=True)
    thread.start()
    thread.join(seconds_max)
    problem = outcome[0] if outcome else f"did not answer within {seconds_max:g} s"
    if problem:
        raise AlertError(f"ALERT_HOOK at {_shown(url)} {problem}")


def _posted(url: str, message: bytes, seconds_max: float) -> str:
    """What went wrong; empty when nothing did."""
    try:
        request = urllib.request.Request(url, message, {"Content-Type": "application/json"})  # noqa: S310 - only http(s) comes here
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=seconds_max):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return f"answered {error.code}"
    except TimeoutError:
        return f"did not answer within {seconds_max:g} s"
    except urllib.error.URLError as error:
        return f"cannot be reached: {getattr(error.reason, 'strerror', None) or error.reason}"
    except (OSError, HTTPException, ValueError) as error:
        return f"cannot be used: {type(error).__name__}"


def _shown(url: str) -> str:
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return "its URL"


def main(arguments: list[str]) -> int:
    """Exit status 0 delivered, 1 not, 2 wrong usage."""
    if not arguments or len(arguments) > 2:
        print("usage: python -m ops.alerts SUBJECT [DETAIL]", file=sys.stderr)
        return 2
    try:
        problem = None if deliver(arguments[0], "".join(arguments[1:])) else NOT_SET
    except AlertError as error:
        problem = str(error)
    if problem:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
