"""Runs a release's own commands, as the user whose stack it is."""

import json
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ops.release.home import Release, ReleaseError
from ops.stack.place import MODULES, Place

SECONDS_MAX = 3600


class Commands:
    """`environ` is what the stack is configured with. Root acts as the owner of the state directory.

    So files that a backup makes belong to the user whose timer makes the next one.
    """

    def __init__(self, place: Place, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._place = place

    def gatehouse(self, release: Release, *words: str) -> dict[str, Any]:
        """What its `gatehouse … --json` prints. Raises ReleaseError with its own sentence."""
        return _answer(self._run(release.command("ops.cli", *words, "--json")), f"gatehouse {' '.join(words)}")

    def plans(self, release: Release, placeholders: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """What its `python -m <service> check` answers, by service. Raises ReleaseError with the first one's faults."""
        with ThreadPoolExecutor(len(MODULES)) as threads:
            words = [release.command(module, "check") for module in MODULES.values()]
            outputs = list(threads.map(lambda each: self._run(each, placeholders), words))
        return {
            service: _answer(output.strip().rpartition("\n")[2], f"{MODULES[service]} check")
            for service, output in zip(MODULES, outputs, strict=True)
        }

    def _run(self, words: list[str], more: Mapping[str, str] = {}) -> str:
        owner = stack_owner(self._place.var)
        user = (
            {} if owner is None else {"user": owner[0], "group": owner[1], "extra_groups": [], "cwd": self._place.var}
        )
        try:
            done = subprocess.run(
                words,
                env={**self._environ, **more},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS_MAX,
                check=False,
                **user,  # type: ignore[call-overload]
            )
        except subprocess.TimeoutExpired:
            raise ReleaseError(f"`{' '.join(words)}` has not ended after {SECONDS_MAX} s and was killed") from None
        except OSError as error:
            raise ReleaseError(f"{words[0]} cannot be run: {error.strerror}") from None
        if done.returncode:
            raise ReleaseError(_sentence(done.stderr) or f"`{' '.join(words)}` ended with status {done.returncode}")
        output: str = done.stdout
        return output


def stack_owner(var: Path) -> tuple[int, int] | None:
    """User and group to become; None when we are them, or are not root."""
    try:
        status = var.stat()
    except FileNotFoundError:
        return None
    return (status.st_uid, status.st_gid) if os.geteuid() == 0 and status.st_uid != 0 else None


def _answer(said: str, asked: str) -> dict[str, Any]:
    try:
        answer = json.loads(said)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ReleaseError(f"`{asked}` answered no JSON")
    return answer


def _sentence(said: str) -> str:
    """Its `error:` lines; without any, the last thing it said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    return "; ".join(errors or lines[-1:])
